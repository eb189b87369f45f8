"""Images that are damaged, that lie about themselves, or that are not what they seem."""

from __future__ import annotations

import importlib
import random
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from typer.testing import Result

from gradviz.errors import ImageError
from gradviz.image.read import read_image

Fails = Callable[..., str]
Counted = Callable[[str, object], None]

PARTS = 64

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
COLOUR = Image.fromarray(PIXELS)
GRAY = COLOUR.convert("L")
PALETTE = COLOUR.quantize(16)
CLEAR = Image.fromarray(np.dstack([PIXELS, PIXELS[..., 0]]))
DEEP = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (12, 16), np.uint16))
ICON = COLOUR.resize((16, 16))


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def with_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker" * 10
    return exif


def numpy() -> bytes:
    buffer = BytesIO()
    np.save(buffer, PIXELS.transpose(2, 0, 1))
    return buffer.getvalue()


def saved() -> bytes:
    buffer = BytesIO()
    torch.save(torch.from_numpy(PIXELS.transpose(2, 0, 1).copy()), buffer)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded(COLOUR, "PNG"),
    "gray png": lambda: encoded(GRAY, "PNG"),
    "1-bit png": lambda: encoded(GRAY.convert("1"), "PNG"),
    "16-bit png": lambda: encoded(DEEP, "PNG"),
    "transparent png": lambda: encoded(CLEAR, "PNG"),
    "palette png": lambda: encoded(PALETTE, "PNG", transparency=3),
    "animated png": lambda: encoded(
        COLOUR, "PNG", save_all=True, append_images=[COLOUR.rotate(90)]
    ),
    "jpeg": lambda: encoded(COLOUR, "JPEG"),
    "progressive jpeg": lambda: encoded(COLOUR, "JPEG", progressive=True),
    "cmyk jpeg": lambda: encoded(COLOUR.convert("CMYK"), "JPEG"),
    "jpeg with exif": lambda: encoded(COLOUR, "JPEG", exif=with_exif(6)),
    "gif": lambda: encoded(PALETTE, "GIF"),
    "animated gif": lambda: encoded(
        PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(90)]
    ),
    "webp": lambda: encoded(COLOUR, "WEBP"),
    "lossless webp": lambda: encoded(COLOUR, "WEBP", lossless=True),
    "animated webp": lambda: encoded(
        COLOUR, "WEBP", save_all=True, append_images=[COLOUR.rotate(90)]
    ),
    "tiff": lambda: encoded(COLOUR, "TIFF"),
    "16-bit tiff": lambda: encoded(DEEP, "TIFF"),
    "cmyk tiff": lambda: encoded(COLOUR.convert("CMYK"), "TIFF"),
    "deflated tiff": lambda: encoded(COLOUR, "TIFF", compression="tiff_adobe_deflate"),
    "lzw tiff": lambda: encoded(COLOUR, "TIFF", compression="tiff_lzw"),
    "bmp": lambda: encoded(COLOUR, "BMP"),
    "ico": lambda: encoded(ICON, "ICO"),
    "icns": lambda: encoded(ICON, "ICNS", sizes=[(16, 16)]),
    "jpeg 2000": lambda: encoded(COLOUR, "JPEG2000"),
    "avif": lambda: encoded(COLOUR, "AVIF"),
    "tga": lambda: encoded(COLOUR, "TGA"),
    "ppm": lambda: encoded(COLOUR, "PPM"),
    "pcx": lambda: encoded(COLOUR, "PCX"),
    "sgi": lambda: encoded(COLOUR, "SGI"),
    "dds": lambda: encoded(COLOUR, "DDS"),
    "qoi": lambda: encoded(COLOUR, "QOI"),
    "npy": numpy,
    "torch": saved,
    "safetensors": lambda: save({"x": torch.rand(3, 12, 16)}),
}


@pytest.mark.parametrize("format", FORMATS)
def test_cut_short_at_every_64th(
    format: str, tmp_path: Path, record_property: Counted, capfd: pytest.CaptureFixture[str]
) -> None:
    """Refused; or whole, where what is missing was not of the picture. Never half a picture."""
    whole, path = FORMATS[format](), tmp_path / "image"
    path.write_bytes(whole)
    pixels, refused = read_image(path).pixels, 0
    for part in range(PARTS):
        path.write_bytes(whole[: len(whole) * part // PARTS])
        try:
            assert np.array_equal(read_image(path).pixels, pixels), part
        except ImageError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert refused > PARTS // 3
    assert capfd.readouterr().err == ""
    record_property("cases", PARTS)


@pytest.mark.parametrize("format", FORMATS)
def test_a_flipped_bit(
    format: str, tmp_path: Path, record_property: Counted, capfd: pytest.CaptureFixture[str]
) -> None:
    """Refused in one line, or pixels: a format without checksums cannot know."""
    whole, path, places = FORMATS[format](), tmp_path / "image", random.Random(0)
    for _ in range(PARTS):
        damaged = bytearray(whole)
        damaged[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        path.write_bytes(damaged)
        try:
            pixels = read_image(path, max_pixels=10**6).pixels
        except ImageError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        else:
            assert pixels.ndim == 3 and pixels.size and np.isfinite(pixels).all()
    assert capfd.readouterr().err == ""
    record_property("cases", PARTS)


@pytest.mark.parametrize("format", FORMATS)
def test_under_a_wrong_suffix(
    format: str, healthy: Path, saliency: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "image.yaml").write_bytes(FORMATS[format]())
    result = saliency(healthy / "scripted.ts", "image.yaml")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_folder_of_broken_images(
    healthy: Path, saliency: Callable[..., Result], tmp_path: Path, record_property: Counted
) -> None:
    """Each fails alone and in one line; the one that is whole is done."""
    folder = tmp_path / "photos"
    folder.mkdir()
    names = []
    for n, make in enumerate(FORMATS.values()):
        whole = make()
        names.append(f"{n}.png")
        (folder / names[-1]).write_bytes(whole[: len(whole) // 4])
    (folder / "whole.png").write_bytes(FORMATS["png"]())
    result = saliency(healthy / "scripted.ts", folder)
    assert result.exit_code == 4
    said = result.stderr.splitlines()
    assert len(said) == len(names) and all(line.startswith("error: ") for line in said)
    assert all(any(f"{folder}/{name}: " in line for line in said) for name in names)
    out = {path.name for path in (tmp_path / "gradviz-out").iterdir()}
    assert out == {"run.json", "environment.json", "results.jsonl", "whole.png"}
    record_property("cases", len(names))


# Made by hand -------------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *more: bytes, data: bytes = b"") -> bytes:
    """A gray PNG file that says to have this size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    compressed = zlib.compress(data or bytes((width + 1) * height), 9)
    chunks = [chunk(b"IHDR", header), *more, chunk(b"IDAT", compressed), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def ico(inner: bytes) -> bytes:
    """An icon that says to be 16x16, with this file inside."""
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inner


def icns(inner: bytes) -> bytes:
    """An icon of macOS that says to be 16x16, with this file inside."""
    block = b"icp4" + struct.pack(">I", 8 + len(inner)) + inner
    return b"icns" + struct.pack(">I", 8 + len(block)) + block


def tiff(width: int, height: int) -> bytes:
    """A TIFF file that says to have this size, and holds a few bytes."""
    whole = encoded(GRAY, "TIFF", compression="tiff_adobe_deflate")
    for tag, old, new in ((256, 16, width), (257, 12, height), (278, 12, height)):
        for kind, form in ((3, "<HHIHH"), (4, "<HHII")):
            zeros = (0,) if kind == 3 else ()
            whole = whole.replace(
                struct.pack(form, tag, kind, 1, old, *zeros), struct.pack("<HHII", tag, 4, 1, new)
            )
    return whole


def text_bomb() -> bytes:
    """Eighty megabytes of comments in a chunk."""
    return png(4, 4, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80 << 20), 9)))


def broken_exif() -> bytes:
    whole = encoded(COLOUR, "JPEG", exif=with_exif(6))
    place = whole.index(b"Exif\0\0") + 6
    return whole[: place + 8] + b"\xff" * 30 + whole[place + 38 :]


def expanded(*shape: int) -> bytes:
    """A tensor whose numbers are all the same one, of a type that NumPy lacks."""
    buffer = BytesIO()
    torch.save(torch.zeros(1, 1, 1, dtype=torch.bfloat16).expand(shape), buffer)
    return buffer.getvalue()


MEGA = 1000
BOMBS: dict[str, Callable[[], bytes]] = {
    "a PNG of all that it says": lambda: png(MEGA, MEGA),
    "a PNG that says so": lambda: png(60_000, 60_000, data=b"\0"),
    "a PNG of the largest size": lambda: png(2**31 - 1, 2**31 - 1, data=b"\0"),
    "a PNG inside a small icon": lambda: ico(png(MEGA, MEGA)),
    "a PNG hidden in a small icon": lambda: ico(png(60_000, 60_000, data=b"\0")),
    "a PNG inside a small ICNS": lambda: icns(png(MEGA, MEGA)),
    "a PNG hidden in a small ICNS": lambda: icns(png(60_000, 60_000, data=b"\0")),
    "a TIFF that says so": lambda: tiff(60_000, 60_000),
    "a GIF that says so": lambda: encoded(PALETTE, "GIF").replace(
        struct.pack("<HH", 16, 12), b"\xff\xff\xff\xff"
    ),
    "a BMP that says so": lambda: encoded(COLOUR, "BMP").replace(
        struct.pack("<ii", 16, 12), struct.pack("<ii", 60_000, 60_000)
    ),
    "an array that says so": lambda: numpy().replace(b"(3, 12, 16)", b"(3,9999999999,9)"),
    "an array of one number": lambda: expanded(3, 10_000, 10_000),
    "an array of one number, as channels": lambda: expanded(3 * 10**8, 1, 1),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_decompression_bomb(case: str, healthy: Path, fails: Fails, tmp_path: Path) -> None:
    """Nothing that has more pixels than were asked for is decoded."""
    resource: Any = importlib.import_module("resource")
    (tmp_path / "bomb.png").write_bytes(BOMBS[case]())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words = [healthy / "scripted.ts", "bomb.png", "--max-pixels", "100000"]
    assert "bomb.png" in fails(2, *words)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000, f"{grown} kB"


def test_an_icon_has_the_size_of_what_it_holds(tmp_path: Path) -> None:
    """To the pixel, though Pillow's own limit is twice as far."""
    (tmp_path / "a.png").write_bytes(ico(png(40, 40)))
    assert read_image(tmp_path / "a.png", max_pixels=1600).pixels.shape == (1, 40, 40)
    with pytest.raises(ImageError, match="40x40 pixels, expected at most 1599"):
        read_image(tmp_path / "a.png", max_pixels=1599)


MADE: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "not an image"),
    "zero wide": (lambda: png(0, 4), "not an image"),
    "zero high": (lambda: png(4, 0), "not an image"),
    "an array of no pixels": (
        lambda: numpy().replace(b"(3, 12, 16)", b"(3,  0, 16)"),
        "expected at least 1x1",
    ),
    "a megabyte of text in a chunk": (text_bomb, "damaged"),
    "PostScript": (
        lambda: (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(sung) (w) file\n"
        ),
        "PostScript is a program",
    ),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    "HTML": (lambda: b"<!doctype html><script>alert(1)</script>", "not an image"),
    "a zip file": (lambda: b"PK\x03\x04" + bytes(60), "damaged"),
}


@pytest.mark.parametrize("case", MADE)
def test_what_is_no_picture(case: str, healthy: Path, fails: Fails, tmp_path: Path) -> None:
    make, says = MADE[case]
    (tmp_path / "image.png").write_bytes(make())
    assert says in fails(2, healthy / "scripted.ts", "image.png")


def test_broken_exif_turns_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(broken_exif())
    (tmp_path / "b.jpg").write_bytes(encoded(COLOUR, "JPEG"))
    a, b = (read_image(tmp_path / name).pixels for name in ("a.jpg", "b.jpg"))
    assert np.array_equal(a, b)
