"""Opening HEIC pictures, for which Pillow needs a library of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from gradviz.arrays import Size
from gradviz.errors import ImageError

HEIC_BRANDS = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypheim", b"ftypmif1", b"ftypmsf1")
"""The bytes 4 to 12 of a HEIC file."""
HEIC_SUFFIXES = frozenset({".heic", ".heif"})


class HeicPicture:
    """A HEIC file, whose pictures have sizes that are known before they are decoded."""

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
        self._file = pillow_heif.open_heif(file, convert_hdr_to_8bit=True)
        self.pages = len(self._file)
        """The number of pictures in the file."""

    def size(self, page: int | None) -> Size:
        """The width and height of a page, upright."""
        size: Size = self._chosen(page).size
        return size

    def decode(self, page: int | None) -> Image.Image:
        """Decode a page, upright, with 8 bits a channel."""
        image: Image.Image = self._chosen(page).to_pillow()
        return image

    def _chosen(self, page: int | None) -> Any:
        """The page from 1, or the file's main picture."""
        return self._file if page is None else self._file[page - 1]
