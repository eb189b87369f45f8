"""Damaged files of every format that is read: pixels, or an ImageError that names the file.

An example takes about a millisecond.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from gradviz.errors import ImageError
from gradviz.image.read import Picture, read_image
from tests.robustness.fuzz.rounds import FUZZ

HEADER = 200
"""Bytes at the beginning that are changed more often than the rest."""
MAX_PIXELS = 10_000


def picture(name: str, mode: str = "RGB") -> Callable[[BinaryIO], object]:
    return lambda file: Image.effect_noise((9, 7), 50).convert(mode).save(file, name)


WRITERS: dict[str, Callable[[BinaryIO], object]] = {
    **{name: picture(name) for name in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000")},
    **{name: picture(name) for name in ("TGA", "PCX", "ICO", "SGI", "DDS", "AVIF", "ICNS")},
    "GIF": picture("GIF", "P"),
    "PNG with alpha": picture("PNG", "RGBA"),
    "PNG of a palette": picture("PNG", "P"),
    "PNG of 16 bits": picture("PNG", "I;16"),
    "PNG that is too large": lambda file: Image.new("1", (200, 100)).save(file, "PNG"),
    "TIFF of floats": lambda file: Image.fromarray(np.eye(4, 5, dtype=np.float32)).save(
        file, "TIFF"
    ),
    "TIFF of CMYK": picture("TIFF", "CMYK"),
    "NumPy": lambda file: np.save(file, np.ones((3, 4, 5), np.float32)),
    "PyTorch": lambda file: torch.save(torch.ones(3, 4, 5), file),
    "safetensors": lambda file: file.write(save({"image": torch.ones(3, 4, 5)})),
}


@cache
def whole(name: str) -> bytes:
    """The file of a format, undamaged."""
    file = io.BytesIO()
    WRITERS[name](file)
    return file.getvalue()


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """The file with a few bytes changed, put in or taken out, most of them in its header."""
    content = bytearray(whole(name))
    for _ in range(draw(st.integers(0, 5))):
        end = max(1, len(content))
        at = draw(st.integers(0, min(end, HEADER) - 1) | st.integers(0, end - 1))
        to = at + draw(st.integers(0, 4))
        content[at:to] = draw(st.binary(max_size=4) | st.sampled_from([b"\xff" * 4, b"\0" * 4]))
    return bytes(content[: draw(st.just(len(content)) | st.integers(0, len(content)))])


@pytest.mark.parametrize("name", WRITERS)
@FUZZ
@given(data=st.data())
def test_any_damage(name: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "file"
    path.write_bytes(data.draw(damaged(name)))
    try:
        found = read_image(path, max_pixels=MAX_PIXELS)
    except ImageError as error:
        assert str(path) in str(error)
    else:
        assert isinstance(found, Picture)
        channels, height, width = found.levels.shape
        assert channels > 0 and 0 < height * width <= MAX_PIXELS
        assert np.isfinite(found.pixels).all()


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_not_damaged_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(whole(name))
    assert read_image(path).levels.shape[0] in (1, 3)
