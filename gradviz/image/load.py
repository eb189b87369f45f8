"""Loading an image file: reading and preparing it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from gradviz.arrays import Bytes
from gradviz.errors import GradvizError, MemoryShort
from gradviz.image.find import Source
from gradviz.image.prepare import Prepared, as_shown, prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture, read_image


@dataclass(frozen=True)
class LoadedImage:
    """An image that is ready for the model."""

    name: str
    prepared: Prepared


def load_image(source: Source, preprocess: Preprocess) -> LoadedImage:
    """Read an image file and convert it to the tensor that enters the model.

    Args:
        source: the file, and its name in results.
        preprocess: the recipe.

    Raises:
        ImageError: the file cannot be read, or does not fit the recipe.
        MemoryShort: there is too little memory.
    """
    try:
        return LoadedImage(source.name, prepare(_read(source, preprocess), preprocess))
    except MemoryError as error:
        raise MemoryShort(f"{source.path}: too little memory for it; use --resize") from error


@lru_cache(maxsize=1)  # several seeds use the tensor of an image
def load_photo(source: Source, preprocess: Preprocess) -> Bytes:
    """Read the whole image file, upright, as uint8 RGB [H, W, 3].

    Args:
        source: the file.
        preprocess: the recipe, of which background, bands and the largest size are used.

    Raises:
        ImageError: the file cannot be read.
    """
    picture = _read(source, preprocess)
    return as_shown(picture.levels, picture.white, preprocess.bands)


def _read(source: Source, preprocess: Preprocess) -> Picture:
    try:
        picture = read_image(
            source.place,
            background=preprocess.background,
            max_pixels=preprocess.max_pixels,
            page=preprocess.page,
            bands=preprocess.bands is not None,
        )
    except GradvizError as error:
        named = str(error).replace(str(source.place), str(source.path), 1)
        raise type(error)(named) from error
    return replace(picture, path=source.path)
