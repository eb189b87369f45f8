"""Picture and array files of every kind, against pixels known beforehand."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from gradviz.errors import ImageError, UsageError
from gradviz.image.mask import read_mask
from gradviz.image.read import Picture, read_image

RGB = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
GRAY = RGB[..., 0]

UPRIGHT = {  # orientation: how the camera stored the upright picture [H,W,...]
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


def save(path: Path, pixels: Any, **options: Any) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def levels(picture: Picture) -> Any:
    """The pixels as bytes [H,W,C]."""
    assert picture.pixels.dtype == np.float32
    return np.round(picture.pixels * 255).astype(np.uint8).transpose(1, 2, 0)


def png(
    depth: int, colour: int, rows: list[bytes], size: tuple[int, int], transparent: bytes = b""
) -> bytes:
    """A PNG file, chunk by chunk: Pillow does not write every kind that it reads."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("bmp", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("ppm", {}),
        ("tga", {}),
        ("sgi", {}),
        ("pcx", {}),
        ("dds", {}),
        ("webp", {"lossless": True}),
        ("jp2", {"irreversible": False}),
    ],
)
def test_lossless_formats_give_their_bytes(
    tmp_path: Path, suffix: str, options: dict[str, Any]
) -> None:
    picture = read_image(save(tmp_path / f"x.{suffix}", RGB, **options))
    np.testing.assert_array_equal(levels(picture), RGB)
    assert picture.kind == "picture"


@pytest.mark.parametrize("suffix", ["jpg", "avif"])
def test_lossy_formats_come_near(tmp_path: Path, suffix: str) -> None:
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    got = levels(read_image(save(tmp_path / f"x.{suffix}", flat, quality=95)))
    np.testing.assert_allclose(got.astype(int), flat, atol=4)


@pytest.mark.parametrize("suffix", ["png", "pgm", "jpg", "tif"])
def test_gray_stays_one_channel(tmp_path: Path, suffix: str) -> None:
    flat = np.full((16, 16), 90, np.uint8)
    assert np.unique(levels(read_image(save(tmp_path / f"x.{suffix}", flat)))).tolist() == [90]
    assert read_image(tmp_path / f"x.{suffix}").pixels.shape == (1, 16, 16)


def test_one_bit(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", Image.fromarray(GRAY > 99))
    np.testing.assert_array_equal(read_image(path).pixels, (GRAY > 99)[None])


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("webp", {"lossless": True}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
    ],
)
@pytest.mark.parametrize("kind", ["RGB", "L", "I;16"])
def test_orientation(
    tmp_path: Path, orientation: int, suffix: str, options: dict[str, Any], kind: str
) -> None:
    pixels: Any = {"RGB": RGB, "L": GRAY, "I;16": GRAY.astype(np.uint16) * 257}[kind]
    if suffix == "webp":
        pixels = RGB  # it knows nothing else
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(UPRIGHT[orientation](pixels))
    path = save(tmp_path / f"x.{suffix}", stored, exif=exif, **options)
    expected = GRAY[..., None] if pixels.ndim == 2 else RGB
    np.testing.assert_array_equal(levels(read_image(path)), expected)


@pytest.mark.parametrize("background", [(255, 255, 255), (10, 200, 30)])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_alpha_is_straight_and_hides_what_it_hides(
    tmp_path: Path, suffix: str, background: tuple[int, int, int]
) -> None:
    rgba = np.dstack([RGB, np.full((6, 4), 100, np.uint8)])
    rgba[0, :, 3], rgba[1, :, 3] = 0, 255
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    path = save(tmp_path / f"x.{suffix}", rgba, **options)
    got = read_image(path, background=background).pixels.transpose(1, 2, 0)
    assert (got[0] == np.array(background, np.float32) / np.float32(255)).all()
    np.testing.assert_array_equal(got[1], RGB[1] / np.float32(255))
    mixed = (RGB[2:] * (100 / 255) + np.array(background) * (155 / 255)) / 255
    np.testing.assert_allclose(got[2:], mixed, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P bytes", "L key", "RGB key", "1 key"])
def test_the_colour_of_transparent_pixels_does_not_matter(tmp_path: Path, mode: str) -> None:
    """Two files that differ in nothing but hidden colours look the same."""
    seen = []
    for hidden in (0, 200):
        path = tmp_path / f"{hidden}.png"
        if mode in ("RGBA", "LA"):
            pixels = np.full((2, 3, len(mode)), 77, np.uint8)
            pixels[..., -1] = 255
            pixels[0, 0] = [hidden] * (len(mode) - 1) + [0]
            save(path, pixels)
        elif mode.startswith("P"):
            image = Image.new("P", (3, 2), 1)
            image.putpalette([hidden] * 3 + [77] * 3)
            image.putpixel((0, 0), 0)
            save(path, image, transparency=b"\0\xff" if "bytes" in mode else 0)
        elif mode == "1 key":
            image = Image.new("1", (3, 2), 1 - bool(hidden))
            image.putpixel((0, 0), bool(hidden))
            row = b"\x80" if hidden else b"\x60"
            other = b"\x00" if hidden else b"\xe0"
            path.write_bytes(png(1, 0, [row, other], (3, 2), struct.pack(">H", bool(hidden))))
        else:
            channels = 3 if mode == "RGB key" else 1
            pixels = np.full((2, 3, channels), 77, np.uint8)
            pixels[0, 0] = hidden
            key = (hidden,) * 3 if channels == 3 else hidden
            save(path, pixels.squeeze(), transparency=key)
        seen.append(read_image(path, background=(51, 51, 51)).pixels)
    assert np.unique(seen[0][:, 0, 0]).tolist() == [np.float32(0.2)]
    if mode == "1 key":
        assert (np.delete(seen[0].ravel(), 0) == 1).all()
        assert (np.delete(seen[1].ravel(), 0) == 0).all()
    else:
        np.testing.assert_array_equal(seen[0], seen[1])
        assert seen[0][0, 1, 1] == np.float32(77) / np.float32(255)


@pytest.mark.parametrize(
    ("depth", "colour", "row", "key"),
    [
        (2, 0, bytes([0b00_01_10_11]), (2,)),
        (4, 0, bytes([0x05, 0xAF]), (10,)),
        (16, 0, struct.pack(">4H", 0, 1, 500, 501), (500,)),
        (
            16,
            2,
            struct.pack(">12H", 6, 7, 8, 6000, 7000, 0, 6000, 7000, 8000, 6000, 0, 0),
            (6000, 7000, 8000),
        ),
    ],
)
def test_a_transparent_colour_at_other_depths(
    tmp_path: Path, depth: int, colour: int, row: bytes, key: tuple[int, ...]
) -> None:
    """Pillow stretches these pixels to 8 bits, but not the colour that is transparent."""
    (tmp_path / "x.png").write_bytes(
        png(depth, colour, [row], (4, 1), struct.pack(f">{len(key)}H", *key))
    )
    plain, keyed = BytesIO(png(depth, colour, [row], (4, 1))), tmp_path / "x.png"
    with Image.open(plain) as image:
        white = 65535 if image.mode == "I;16" else 255
        expected = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1) / np.float32(white)
    expected[..., 2] = 0.2
    np.testing.assert_allclose(read_image(keyed, background=(51, 51, 51)).pixels, expected)


def test_gray_with_alpha_takes_the_colour_of_the_background(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", np.array([[[0, 255], [9, 0]]], np.uint8))
    assert read_image(path).pixels.tolist() == [[[0, 1]]]
    assert read_image(path, background=(255, 0, 0)).pixels.tolist() == [
        [[0, 1]],
        [[0, 0]],
        [[0, 0]],
    ]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled(tmp_path: Path, suffix: str) -> None:
    gray = np.array([[0, 1, 256], [32768, 65534, 65535]], np.uint16)
    pixels = read_image(save(tmp_path / f"x.{suffix}", gray)).pixels
    np.testing.assert_array_equal(pixels, gray[None] / np.float32(65535))


def test_big_endian_sixteen_bits(tmp_path: Path) -> None:
    image = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 258, 65535))
    pixels = read_image(save(tmp_path / "x.tif", image)).pixels
    np.testing.assert_allclose(pixels, [[[258 / 65535, 1]]], rtol=1e-6)


@pytest.mark.parametrize("wrong", [-1, 65536])
def test_gray_levels_without_a_known_range(tmp_path: Path, wrong: int) -> None:
    path = save(tmp_path / "x.tif", np.array([[0, wrong]], np.int32))
    with pytest.raises(ImageError, match=f"gray levels from .*{wrong}.*expected 0 to 65535"):
        read_image(path)


def test_float_pictures(tmp_path: Path) -> None:
    values = np.array([[0, 0.25, 1]], np.float32)
    assert read_image(save(tmp_path / "x.tif", values)).pixels.tolist() == [values.tolist()]
    for wrong in (np.nan, 1.5, -0.1):
        save(tmp_path / "x.tif", np.array([[0.5, wrong]], np.float32))
        with pytest.raises(ImageError, match=r"expected 0 to 1; save them as a \.npy"):
            read_image(tmp_path / "x.tif")


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "tif"), ("YCbCr", "tif"), ("RGBX", "tif")])
def test_other_colour_spaces(tmp_path: Path, mode: str, suffix: str) -> None:
    colour = Image.new("RGB", (16, 16), (200, 100, 50)).convert(mode)
    got = levels(read_image(save(tmp_path / f"x.{suffix}", colour)))
    np.testing.assert_allclose(got.astype(int), np.full((16, 16, 3), (200, 100, 50)), atol=2)


def test_lab(tmp_path: Path) -> None:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(Image.new("RGB", (4, 4), (200, 100, 50)), to_lab)
    assert lab is not None
    got = levels(read_image(save(tmp_path / "x.tif", lab)))
    np.testing.assert_allclose(got[0, 0].astype(int), (200, 100, 50), atol=3)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    path = save(tmp_path / f"x.{suffix}", first, save_all=True, append_images=[second])
    np.testing.assert_allclose(read_image(path).pixels[:, 0, 0], [1, 0, 0], atol=0.02)


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("uint8", 255), ("uint16", 65535), ("float16", 1), ("float32", 1), ("float64", 1)],
)
@pytest.mark.parametrize("shape", [(5, 3, 2), (1, 5, 3, 2), (3, 2)])
def test_arrays(
    tmp_path: Path, suffix: str, dtype: str, scale: float, shape: tuple[int, ...]
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    path = tmp_path / f"x{suffix}"
    np.save(path, values) if suffix == ".npy" else torch.save(torch.from_numpy(values), path)
    picture = read_image(path)
    assert picture.kind == "array"
    assert picture.pixels.dtype == np.float32
    expected = values.reshape(-1, 3, 2) / scale
    np.testing.assert_allclose(picture.pixels, expected, rtol=1e-6)


def test_an_array_of_bools(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", [[True, False]])
    assert read_image(tmp_path / "x.npy").pixels.tolist() == [[[1, 0]]]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(3), r"shape \[3\], expected \[C,H,W\]"),
        (np.zeros((2, 3, 4, 4)), r"shape \[2, 3, 4, 4\], expected \[C,H,W\]"),
        (np.zeros((3, 0, 4)), "4x0 pixels, expected at least 1x1"),
        (np.zeros((0, 4, 4)), "expected at least 1x1"),
        (np.zeros((3, 4, 4), np.int64), "int64 has no known range"),
        (np.array([[0, np.nan, np.inf]]), "2 values are NaN or infinite"),
        (np.array([[1e300]]), "1 values are NaN or infinite"),
        (np.zeros((1, 40, 40)), "40x40 pixels, expected at most 1000 .*--max-pixels"),
        (np.array(["text"]), "holds <U4 values"),
    ],
)
def test_arrays_that_are_no_image(tmp_path: Path, array: Any, reason: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ImageError, match=rf"x\.npy: .*{reason}"):
        read_image(tmp_path / "x.npy", max_pixels=1000)


def test_the_size_is_checked_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(8, 0, [b""], (10**5, 10**5)))
    with pytest.raises(ImageError, match="more than 400000000 pixels, expected at most 200000000"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("limit", [4, 13])  # refused, or warned of
def test_pillows_own_limit_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert read_image(save(tmp_path / "x.png", RGB)).pixels.shape == (3, 6, 4)
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="4x6 pixels, expected at most 23"):
        read_image(tmp_path / "x.png", max_pixels=23)
    assert read_image(tmp_path / "x.png", max_pixels=24)


@pytest.mark.process
def test_pillow_stays_quiet(tmp_path: Path) -> None:
    """A warning and a line in Pillow's log, which a script that sets up neither would print."""
    animation = png(8, 0, [b"\x80"], (1, 1)).partition(b"\0\0\0\1IDAT")[0]
    start = animation[:33]  # up to the end of the header chunk
    frames = b"acTL" + bytes(8)  # an animation of no frames
    frames = struct.pack(">I", 8) + frames + struct.pack(">I", zlib.crc32(frames))
    (tmp_path / "warns.png").write_bytes(start + frames + animation[33:])
    tiff = save(tmp_path / "logs.tif", RGB).read_bytes()
    samples = struct.pack("<HHI", 277, 3, 1)
    (tmp_path / "logs.tif").write_bytes(tiff.replace(samples + b"\3", samples + b"\x63"))
    code = """if True:
        import sys
        from pathlib import Path
        from gradviz.errors import ImageError
        from gradviz.image.read import read_image
        print(read_image(Path("warns.png")).pixels.shape)
        try:
            read_image(Path("logs.tif"))
        except ImageError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith("(1, 1, 1)\nlogs.tif: cannot be decoded")


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("<html>no picture</html>")
    (tmp_path / "empty.png").touch()
    for name, reason in {
        "x.png": "not an image",
        "empty.png": "not an image",
        "missing.png": "no such file",
        ".": "is a folder",
    }.items():
        with pytest.raises(ImageError, match=reason) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, flags: int) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("gradviz.files.os.open", denied)  # chmod does not stop root
    with pytest.raises(ImageError, match=r"x\.png: permission denied; make the file readable"):
        read_image(tmp_path / "x.png")


def test_zero_sized_pictures(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(8, 0, [b""], (0, 1)))
    with pytest.raises(ImageError, match=r"x\.png: "):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    "suffix", ["png", "jpg", "gif", "tif", "webp", "bmp", "jp2", "ico", "avif"]
)
def test_damaged_files_give_one_line_or_pixels(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Cut short or with wrong bytes: never another exception, a warning, or talk on stderr."""
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    path = save(tmp_path / f"x.{suffix}", pixels)
    whole = path.read_bytes()
    failed = 0
    for attempt in range(40):
        damaged = bytearray(whole[: random.integers(1, len(whole))] if attempt % 2 else whole)
        for place in random.integers(0, min(len(damaged), 200), attempt % 3):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_image(path, max_pixels=10**6)
        except ImageError as error:
            failed += 1
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
    assert failed > 8
    assert capfd.readouterr().err == ""


# Several pages ------------------------------------------------------------------------------------

LEVELS = (10, 90, 200)


def several(path: Path) -> Path:
    """Three pages or frames of one gray level each."""
    first, *others = (Image.new("RGB", (6, 5), (level,) * 3) for level in LEVELS)
    lossless: dict[str, Any] = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, **lossless)
    return path


def fax(path: Path) -> Path:
    """Three pages of a fax, which are PCX files one after the other."""
    pages = []
    for level in LEVELS:
        page = BytesIO()
        Image.new("RGB", (6, 5), (level,) * 3).save(page, "PCX")
        pages.append(page.getvalue())
    starts = [4 + 4 * (len(pages) + 1)]
    for data in pages[:-1]:
        starts.append(starts[-1] + len(data))
    path.write_bytes(struct.pack("<5I", 0x3ADE68B1, *starts, 0) + b"".join(pages))
    return path


@pytest.mark.parametrize("suffix", [".tiff", ".gif", ".webp", ".png", ".avif", ".dcx"])
def test_of_several_pages_one_is_read_and_the_others_are_told_of(
    tmp_path: Path, suffix: str
) -> None:
    path = (fax if suffix == ".dcx" else several)(tmp_path / f"x{suffix}")
    first = read_image(path)
    assert first.notes == ("the first of 3 pages or frames is used; choose one with --page N",)
    rounding = 2 / 255 if suffix == ".avif" else 1e-6
    assert float(first.pixels.mean()) == pytest.approx(LEVELS[0] / 255, abs=rounding)
    for page, level in enumerate(LEVELS, 1):
        chosen = read_image(path, page=page)
        assert chosen.notes == ()
        assert chosen.pixels.shape == (3, 5, 6)
        assert chosen.pixels == pytest.approx(level / 255, abs=rounding)
    with pytest.raises(ImageError, match="has no page 4; expected --page 1 to 3"):
        read_image(path, page=4)


def test_a_picture_of_one_page_has_that_page_alone(tmp_path: Path) -> None:
    Image.new("RGB", (6, 5)).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", np.zeros((1, 5, 6), np.float32))
    for name in ("x.png", "x.npy"):
        assert read_image(tmp_path / name).notes == read_image(tmp_path / name, page=1).notes == ()
        with pytest.raises(ImageError, match="has no page 2; expected --page 1 to 1"):
            read_image(tmp_path / name, page=2)


def test_a_mask_of_several_pages_is_refused(tmp_path: Path) -> None:
    """Nobody would be told which of them was taken."""
    with pytest.raises(UsageError, match=r"x\.gif: has several pages or frames; save the mask"):
        read_mask(several(tmp_path / "x.gif"))


def test_a_phones_second_size_of_a_picture_is_no_page(tmp_path: Path) -> None:
    large, small = Image.new("RGB", (8, 6)), Image.new("RGB", (4, 3))
    large.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[small])
    assert read_image(tmp_path / "x.jpg").notes == ()


def test_a_damaged_second_page_does_not_keep_the_first_from_being_read(tmp_path: Path) -> None:
    path = several(tmp_path / "x.gif")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert float(read_image(path).pixels.mean()) == pytest.approx(LEVELS[0] / 255)


# Pictures that Pillow does not read ---------------------------------------------------------------


@pytest.mark.parametrize(
    "content, told",
    [
        (struct.pack(">I", 24) + b"ftypheic" + bytes(40), "cannot be decoded"),
        (struct.pack(">I", 24) + b"ftypmif1" + bytes(40), "cannot be decoded"),
        (b"II*\0" + bytes(40), "TIFF|cannot be decoded"),
        (b"just a text of some length", "not an image; expected a picture"),
        (b"", "not an image; expected a picture"),
    ],
    ids=["heic", "heif", "tiff", "text", "empty"],
)
def test_pictures_that_need_something_are_called_pictures(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ImageError, match=told):
        read_image(tmp_path / "x")


@pytest.mark.parametrize(
    "dtype, white",
    [
        ("bool", 1),
        ("uint8", 255),
        ("uint16", 65535),
        ("float16", 1),
        ("float32", 1),
        ("float64", 1),
    ],
)
def test_the_level_of_an_array_that_stands_for_one(tmp_path: Path, dtype: str, white: int) -> None:
    np.save(tmp_path / "x.npy", np.array([[0, white]], dtype))
    assert read_image(tmp_path / "x.npy").pixels.tolist() == [[[0.0, 1.0]]]
