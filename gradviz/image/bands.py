"""Reading the bands of a TIFF that is no photo: any number of them, as a satellite has."""

from __future__ import annotations

import logging
from math import prod
from pathlib import Path
from textwrap import shorten

import numpy as np
from PIL import Image

from gradviz.arrays import Array
from gradviz.errors import GradvizError, ImageError
from gradviz.files import ALLOWED, RATIO, reading
from gradviz.text import one_line

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first bytes of a TIFF, and of one with addresses of 64 bits."""


def has_bands(image: Image.Image) -> bool:
    """Return True for a TIFF of gray levels with more samples than gray and alpha."""
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    samples, photometric = tags.get(277, 1), tags.get(262, 0)
    return bool(samples > 2 and photometric in (0, 1))


def read_bands(path: Path, page: int | None) -> tuple[Array, int]:
    """Read one page of a TIFF, whatever the number and the type of its bands.

    Args:
        path: the file.
        page: which page, from 1; None for the first.

    Returns:
        the bands [C, H, W] in the machine's byte order; and the number of pages.

    Raises:
        ImageError: the file cannot be read, lacks the page, or would unpack to too much.
    """
    with reading(path, ImageError):
        try:
            bands, axes, pages = _read_page(path, page)
        except (GradvizError, OSError, MemoryError):
            raise
        except Exception as error:  # of tifffile, which quotes tags of any length
            if "imagecodecs" in str(error):
                raise ImageError(
                    f"{path}: its compression needs imagecodecs: pip install imagecodecs, or save "
                    "it again without compression"
                ) from error
            raise ValueError(shorten(one_line(error), 100)) from error
    if axes == "YXS":
        bands = np.moveaxis(bands, -1, 0)
    elif axes == "YX":
        bands = bands[None]
    elif axes != "SYX":
        raise ImageError(f"{path}: a TIFF of volumes ({axes}); save one slice as a file")
    return bands.astype(bands.dtype.newbyteorder("="), copy=False), pages


def _read_page(path: Path, page: int | None) -> tuple[Array, str, int]:
    """Return the pixels of a page, the names of their axes, and the number of pages."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it writes to stderr
    with tifffile.TiffFile(path) as file:
        pages = len(file.pages)
        if page is not None and page > pages:
            raise ImageError(f"{path}: has no page {page}; expected --page 1 to {pages}")
        chosen = file.pages[(page or 1) - 1].aspage()
        unpacked, size = chosen.nbytes, path.stat().st_size
        if unpacked > max(ALLOWED, RATIO * size):
            raise ImageError(
                f"{path}: a TIFF of {size} bytes that would unpack to {unpacked}, expected at "
                f"most {RATIO} times its size; save it again without compression"
            )
        if len(chosen.dataoffsets) != prod(chosen.chunked):  # tifffile takes lost parts for zeros
            raise ValueError("parts of the page are missing")
        return np.asarray(chosen.asarray()), chosen.axes, pages
