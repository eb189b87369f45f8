"""Two arrays become a picture of where they differ."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gradviz.arrays import Array, Mask
from gradviz.heatmap.colours import NONFINITE, Palette

ONLY_A = (200, 0, 40)
ONLY_B = (0, 80, 200)
BOTH = (150, 150, 150)
"""The pixels of two masks; those of neither are black."""


def difference_picture(a: Array, b: Array, scale: float, palette: Palette) -> Image.Image:
    """A − B in diverging colours, or two masks over each other.

    Of the channels of a pixel, the one that differs most is drawn, so that none hides another.

    Args:
        a: [C, h, w] or [h, w], of numbers or truth values.
        b: of the same shape and kind.
        scale: the |difference| that gets the strongest colour; 0 draws an evenly blank picture.
        palette: the colour maps.

    Returns:
        an RGB picture of w×h. Places that are NaN or Inf in either are painted in `NONFINITE`.
    """
    if a.dtype == b.dtype == bool and a.ndim == 2:
        return _masks(a, b)
    planes = [each.astype(np.float64).reshape(-1, *each.shape[-2:]) for each in (a, b)]
    broken = ~(np.isfinite(planes[0]) & np.isfinite(planes[1]))
    x, y = (np.where(broken, 0, each) for each in planes)
    most = np.abs(x - y).argmax(axis=0, keepdims=True)
    difference = np.take_along_axis(x - y, most, axis=0)[0]
    t = np.clip(difference, -scale, scale) / scale if scale > 0 else np.zeros_like(difference)
    pixels = palette.diverging(t)
    pixels[broken.any(axis=0)] = NONFINITE
    return Image.fromarray(pixels)


def _masks(a: Mask, b: Mask) -> Image.Image:
    pixels = np.zeros((*a.shape, 3), np.uint8)
    pixels[a & ~b] = ONLY_A
    pixels[b & ~a] = ONLY_B
    pixels[a & b] = BOTH
    return Image.fromarray(pixels)
