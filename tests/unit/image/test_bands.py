"""Arrays of any number of bands: TIFFs as tifffile writes them, and what is drawn of them."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from gradviz.errors import ImageError, UsageError
from gradviz.image.find import find_images
from gradviz.image.load import load_photo
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import preprocess_from
from gradviz.image.read import Picture, read_image

DRAWS = np.random.default_rng(0)


def written(path: Path, array: Any, **options: Any) -> Path:
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    return path


@pytest.mark.parametrize(
    ("dtype", "white"), [("uint8", 255), ("uint16", 65535), ("float32", 1), (">u2", 65535)]
)
@pytest.mark.parametrize("count", [2, 4, 5, 13])
@pytest.mark.parametrize("planar", [True, False])
def test_the_bands_of_a_tiff(
    tmp_path: Path, dtype: str, white: int, count: int, planar: bool
) -> None:
    values = (DRAWS.random((count, 6, 9)) * white).astype(dtype)
    stored = values if planar else np.moveaxis(values, 0, -1)
    config = "separate" if planar else "contig"
    options = {"planarconfig": config, "byteorder": ">" if dtype.startswith(">") else "<"}
    path = written(tmp_path / "x.tif", stored, **options)
    picture = read_image(path, bands=True)
    assert picture.kind == "array"
    np.testing.assert_array_equal(picture.pixels, values.astype(np.float32) / np.float32(white))
    if count > 4:  # Pillow reads no such picture, so nobody need ask
        np.testing.assert_array_equal(read_image(path).pixels, picture.pixels)


def test_a_photo_stays_a_picture_unless_bands_are_asked_for(tmp_path: Path) -> None:
    rgb_and_more = DRAWS.integers(0, 256, (5, 6, 4), dtype=np.uint8)
    options: Any = {"photometric": "rgb", "extrasamples": ["unspecified"]}
    tifffile.imwrite(tmp_path / "x.tif", rgb_and_more, **options)
    photo = read_image(tmp_path / "x.tif")
    assert (photo.kind, photo.levels.shape) == ("picture", (3, 5, 6))
    bands = read_image(tmp_path / "x.tif", bands=True)
    np.testing.assert_array_equal(bands.pixels * 255, np.moveaxis(rgb_and_more, -1, 0))
    Image.fromarray(rgb_and_more[..., :3]).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", bands=True).kind == "picture"


def test_compressed_and_tiled(tmp_path: Path) -> None:
    values = DRAWS.integers(0, 9, (6, 40, 50)).astype(np.uint16)
    options = {"planarconfig": "separate", "compression": "zlib", "tile": (16, 16)}
    path = written(tmp_path / "x.tif", values, **options)
    np.testing.assert_array_equal(np.round(read_image(path).pixels * 65535), values)


def test_pages_of_bands(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for level in (10, 20):
            page = np.full((5, 3, 4), level, np.uint8)
            file.write(page, photometric="minisblack", planarconfig="separate", metadata=None)
    first = read_image(tmp_path / "x.tif")
    assert first.pixels.max() * 255 == 10
    assert first.notes == ("the first of 2 pages or frames is used; choose one with --page N",)
    second = read_image(tmp_path / "x.tif", page=2)
    assert second.pixels.max() * 255 == 20
    assert second.notes == ()
    with pytest.raises(ImageError, match="has no page 3; expected --page 1 to 2"):
        read_image(tmp_path / "x.tif", page=3)


def test_bands_that_are_refused(tmp_path: Path) -> None:
    signed = written(tmp_path / "a.tif", np.zeros((5, 3, 4), np.int16), planarconfig="separate")
    with pytest.raises(ImageError, match="int16 has no known range"):
        read_image(signed)
    bomb = np.zeros((300, 1000, 1000), np.uint8)
    path = written(tmp_path / "b.tif", bomb, planarconfig="separate", compression="zlib")
    with pytest.raises(ImageError, match="would unpack to 300000000, expected at most 10 times"):
        read_image(path)
    with pytest.raises(ImageError, match="1000x1000 pixels, expected at most 9999"):
        read_image(written(tmp_path / "c.tif", bomb[:5], planarconfig="separate"), max_pixels=9999)
    whole = signed.read_bytes()
    for end in (8, 20, len(whole) // 2):
        (tmp_path / "d.tif").write_bytes(whole[:end])
        with pytest.raises(ImageError, match=r"d\.tif: ") as caught:
            read_image(tmp_path / "d.tif")
        assert "\n" not in str(caught.value)


def test_rows_that_no_part_of_the_file_holds(tmp_path: Path) -> None:
    values = np.ones((5, 3, 4), np.uint8)
    path = written(tmp_path / "x.tif", values, planarconfig="separate", compression="zlib")
    packed = path.read_bytes()
    height = struct.pack("<HHII", 257, 4, 1, 3)
    assert height in packed
    path.write_bytes(packed.replace(height, struct.pack("<HHII", 257, 4, 1, 3_000_000)))
    with pytest.raises(ImageError, match="parts of the page are missing"):
        read_image(path)


def test_a_compression_that_needs_another_library(tmp_path: Path) -> None:
    values = np.zeros((5, 3, 4), np.uint8)
    path = written(tmp_path / "x.tif", values, planarconfig="separate", compression="zlib")
    packed = path.read_bytes()
    tag = struct.pack("<HHI", 259, 3, 1)
    path.write_bytes(packed.replace(tag + b"\x08", tag + b"\x05"))  # LZW, as GDAL likes it
    with pytest.raises(ImageError, match=r"x\.tif: its compression needs imagecodecs: pip install"):
        read_image(path)


def test_a_message_does_not_repeat_what_a_file_holds(tmp_path: Path) -> None:
    values = np.zeros((5, 3, 4), np.uint8)
    path = written(tmp_path / "x.tif", values, planarconfig="separate", compression="zlib")
    packed = path.read_bytes()
    tag = struct.pack("<HHI", 259, 3, 1)
    many = struct.pack("<HHII", 259, 3, 120, 8)  # 120 compressions
    start = packed.index(tag)
    path.write_bytes(packed[:start] + many + packed[start + 12 :])
    with pytest.raises(ImageError, match=r"x\.tif: cannot be decoded") as caught:
        read_image(path)
    assert len(str(caught.value)) < len(str(path)) + 250


def test_what_is_drawn_of_bands() -> None:
    pixels = np.zeros((5, 1, 3), np.float32)
    pixels[3, 0] = [0.25, 0.5, 1.25]
    pixels[2, 0] = [1.25, 1.25, 1.25]
    picture = Picture(pixels, "array")
    shown = prepare(picture, preprocess_from({"bands": "4,3,2"}, "test")).shown
    assert shown.tolist() == [[[51, 255, 0], [102, 255, 0], [255, 255, 0]]]
    gray = prepare(picture, preprocess_from({"bands": 4}, "test")).shown
    assert gray[0].tolist() == [[0] * 3, [64] * 3, [255] * 3]
    entered = prepare(picture, preprocess_from({"bands": "4,3,2"}, "test")).tensor
    np.testing.assert_array_equal(entered, pixels)


def test_a_band_that_is_not_there() -> None:
    picture = Picture(np.zeros((5, 1, 3), np.float32), "array")
    with pytest.raises(UsageError, match="no band 6; expected --bands 1 to 5"):
        prepare(picture, preprocess_from({"bands": "4,6,1"}, "test"))
    for wrong in ("0,1,2", "1,2", "1,2,3,4", "red"):
        with pytest.raises(UsageError, match="bands: expected one band or three, from 1"):
            preprocess_from({"bands": wrong}, "test")


def test_the_photo_behind_a_map_shows_the_bands(tmp_path: Path) -> None:
    values = np.zeros((5, 3, 4), np.uint8)
    values[4, 0] = 200
    path = written(tmp_path / "x.tif", values, planarconfig="separate")
    (source,) = find_images([str(path)], None).sources
    drawn = load_photo(source, preprocess_from({"bands": "5,1,2"}, "test"))
    assert drawn[0].tolist() == [[255, 0, 0]] * 4
    assert not drawn[1:].any()


@pytest.mark.process
def test_tifffile_is_imported_for_bands_only(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "x.tif")
    code = """if True:
        import sys
        from pathlib import Path
        from gradviz.image.read import read_image
        read_image(Path("x.tif"))
        print("tifffile" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
