"""Reading a file for another input of a model: a picture, or an array that enters as it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradviz.errors import UsageError
from gradviz.files import reading
from gradviz.image.array import is_array, read_array
from gradviz.image.find import Source
from gradviz.image.load import load_image
from gradviz.image.prepare import Prepared, prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class OtherInput:
    """The values of one input of a model beside the image."""

    name: str
    """The argument of the model's forward, or its position from 0, as the user named it."""
    values: Tensor
    """[1, ...]: they are repeated for each image of a batch."""
    picture: Prepared | None = None
    """The picture that they are, with the way back to its file; None for an array."""
    path: Path | None = None
    """The file; None for values from Python."""
    bytes: int | None = None
    """The size of that file."""
    sha256: str | None = None
    """The hexadecimal SHA-256 of that file."""

    @property
    def source(self) -> Source:
        """The file, as that of an image."""
        assert self.path is not None
        return Source(self.path, self.path.name)

    @property
    def prepared(self) -> Prepared:
        """The input as an image: an array of fewer axes gets first ones of length 1."""
        if self.picture is not None:
            return self.picture
        shape = self.values.shape[1:]
        levels = self.values.float().reshape(*[1] * (3 - len(shape)), *shape).cpu().numpy()
        return prepare(Picture(levels, "array"), Preprocess())

    def describe(self) -> dict[str, object]:
        """Describe the input for run.json, in JSON-ready values."""
        return {
            "path": None if self.path is None else str(self.path),
            "bytes": self.bytes,
            "sha256": self.sha256,
        }


def read_other_input(name: str, path: Path, preprocess: Preprocess) -> OtherInput:
    """Read the file of another input.

    Args:
        name: the input, for results and messages.
        path: a picture, or a `.npy`, `.pt` or `.safetensors` file with one array.
        preprocess: the recipe of the images, which is that of a picture too.

    Returns:
        the input; an array gets a batch axis unless its first axis is 1.

    Raises:
        UsageError: the file cannot be read, or does not fit the recipe.
    """
    import torch

    try:
        if is_array(path):
            values, picture = with_batch(torch.from_numpy(read_array(path))), None
        else:
            picture = load_image(Source(path, path.name), preprocess).prepared
            values = picture.tensor[None]
        with reading(path), path.open("rb") as file:
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
    except UsageError as error:  # the command names the file, so this is no image's failure
        raise UsageError(f"--input {name}: {error}") from error
    return OtherInput(name, values, picture, path, size, digest)


def with_batch(array: Tensor) -> Tensor:
    """Add a batch axis to an array, unless its first axis is 1 and so is taken for one."""
    return array if array.shape[:1] == (1,) else array[None]
