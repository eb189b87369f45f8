"""Images of the size that people use: in memory, and as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from gradviz.image.find import Source
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture


def noise(side: int, number: int = 0) -> LoadedImage:
    """A square image in memory, ready for a model; another for every number."""
    pixels = np.random.default_rng(number).random((3, side, side), np.float32)
    return LoadedImage(f"noise-{number}", prepare(Picture(pixels, "array"), Preprocess()))


def photos(folder: Path, count: int) -> list[Source]:
    """Files of 500×375 pixels, JPEG and PNG by turns, smooth with some grain as photos are."""
    sources = []
    for n in range(count):
        rng = np.random.default_rng(n)
        coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC))
        grain = rng.normal(0, 4, smooth.shape)
        file = folder / f"photo_{n:04}.{('jpg', 'png')[n % 2]}"
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(file)
        sources.append(Source(file, file.name))
    return sources
