"""Arrays that a seed names: a file, or a folder with a file for each image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradviz.errors import SeedError, UsageError
from gradviz.image.beside import ByStem, file_of, files_by_stem

if TYPE_CHECKING:
    from gradviz.arrays import Array

ARRAY_SUFFIXES = (".npy", ".pt", ".pth", ".safetensors")
"""The suffixes of the files in an `ArrayFolder`."""


@dataclass(frozen=True)
class ArrayFile:
    """The content of a file that a spec names."""

    path: Path
    values: Array


@dataclass(frozen=True)
class ArrayFolder:
    """A folder that a spec names, with an array for each image."""

    path: Path
    files: ByStem
    """The files that may be an image's."""

    def file(self, image: str) -> Path:
        """Find the file of an image.

        Raises:
            SeedError: there is none, or more than one.
        """
        try:
            return file_of(image, self.files, "target", f"the suffix {', '.join(ARRAY_SUFFIXES)}")
        except UsageError as error:
            raise SeedError(f"{self.path}: {error}") from None

    def of(self, image: str) -> ArrayFile:
        """Read the array of an image.

        Raises:
            SeedError: as `file`; or it cannot be read.
        """
        from gradviz.image.array import read_array

        path = self.file(image)
        try:
            return ArrayFile(path, read_array(path))
        except UsageError as error:
            raise SeedError(str(error)) from None


def array_folder(path: Path) -> ArrayFolder:
    """List the arrays in a folder."""
    return ArrayFolder(path, files_by_stem(path, ARRAY_SUFFIXES))


def read_file(name: str, reader: Callable[[Path], Array]) -> ArrayFile:
    """Read the file that a spec names.

    Raises:
        ValueError: the name is empty.
        UsageError: the file cannot be read.
    """
    if not name:
        raise ValueError
    path = Path(name)
    return ArrayFile(path, reader(path))
