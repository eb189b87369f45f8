"""Photos of odd sizes, which the libraries open and convert with Pillow by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def make_photos(folder: Path) -> list[Path]:
    """Save eight photos, among them one turned by EXIF, a gray and a transparent one."""
    draws = np.random.default_rng(0)

    def photo(name: str, width: int, height: int, mode: str = "RGB", orientation: int = 1) -> Path:
        small = draws.integers(0, 256, (height // 9, width // 9, len(mode)), dtype=np.uint8)
        image = Image.fromarray(small if len(mode) > 1 else small[..., 0])
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.resize((width, height), Image.Resampling.BICUBIC).save(folder / name, exif=exif)
        return folder / name

    return [
        photo("wide.png", 641, 427),
        photo("tall.png", 375, 500),
        photo("square.png", 333, 333),
        photo("turned.png", 500, 371, orientation=6),
        photo("gray.png", 123, 457, "L"),
        photo("transparent.png", 301, 203, "RGBA"),
        photo("long.jpg", 1001, 333),
        photo("small.png", 97, 61),
    ]


def upright(path: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(path))


def rgb(path: Path) -> Image.Image:
    """The photo on white, as torchvision and timm leave it to their users to do."""
    image = upright(path)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
