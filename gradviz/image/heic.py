"""Opening HEIC pictures, for which Pillow needs a library of its own."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from PIL import Image

from gradviz.arrays import Size
from gradviz.errors import ImageError

HEIC_BRANDS = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypheim", b"ftypmif1", b"ftypmsf1")
"""The bytes 4 to 12 of a HEIC file."""
HEIC_SUFFIXES = frozenset({".heic", ".heif"})


class HeicPicture:
    """A HEIC picture whose size is known before it is decoded."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        """Read the header.

        Args:
            path: the file, for messages.
            file: the same, open at its first byte.

        Raises:
            ImageError: the library is missing or broken.
        """
        try:
            import pillow_heif
        except ImportError as error:
            raise ImageError(
                f"{path}: a HEIC picture needs pillow_heif: pip install 'gradviz[heif]', or save "
                "it as PNG or JPEG"
            ) from error
        self._image = pillow_heif.open_heif(file, convert_hdr_to_8bit=True)
        self.size: Size = self._image.size
        """The width and height, upright."""

    def decode(self) -> Image.Image:
        """Decode the picture, upright, with 8 bits a channel."""
        image: Image.Image = self._image.to_pillow()
        return image
