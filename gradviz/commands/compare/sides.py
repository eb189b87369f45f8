"""A picture of the first run's array, a later run's, and their difference, with scale bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gradviz.arrays import Array, Mask
from gradviz.figure.panels import ColourBar, FigurePanel
from gradviz.figure.quick import quick_picture
from gradviz.heatmap.clip import CLIP
from gradviz.heatmap.colours import NONFINITE, Palette
from gradviz.heatmap.draw import draw, scale_in
from gradviz.heatmap.views import VIEWS

ONLY_A = (200, 0, 40)


ONLY_B = (0, 80, 200)


BOTH = (150, 150, 150)
"""The colour of pixels in both masks; those in neither are black."""

IN_MASK = np.array([[0] * 3, [255] * 3], np.uint8)
WHOSE = np.array([ONLY_B, BOTH, ONLY_A], np.uint8)
"""The colours of the bars of a mask and of the difference of two."""


@dataclass(frozen=True)
class NamedArray:
    """An array of one run."""

    run: str
    """The name of the run in titles."""
    values: Array
    """[C, h, w] or [h, w], of numbers or truth values."""


def sides_picture(
    first: NamedArray, later: Sequence[NamedArray], scale: float, palette: Palette
) -> Image.Image:
    """Draw the first run's array, a later one's, and their difference: a row for each later run.

    A map [h, w] is drawn in sequential colours, an array [C, h, w] as the view `signed` draws it,
    and a mask in black and white. All runs share one scale: the largest of their own.

    Args:
        first: the array of the first run.
        later: those of the later runs, of the same shape.
        scale: the |difference| that gets the strongest colour.
        palette: the colour maps.
    """
    runs = (first, *later)
    masks = all(each.values.dtype == bool for each in runs)
    view = VIEWS["heatmap" if first.values.ndim == 2 else "signed"]
    shared = 0.0 if masks else max(scale_in(_planes(each.values), view, CLIP) for each in runs)

    def panel(run: NamedArray) -> FigurePanel:
        if masks:
            pixels = np.where(run.values[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=-1)
            return FigurePanel(run.run, pixels, bar=ColourBar(IN_MASK, 0, 1, "in the mask"))
        backdrop = np.zeros((*run.values.shape[-2:], 3), np.uint8)
        picture = np.asarray(draw(_planes(run.values), view, shared, palette, backdrop))
        table = palette.diverging_table if view.signed else palette.sequential_table
        bar = ColourBar(table, -shared if view.signed else 0.0, shared, view.symbol)
        return FigurePanel(run.run, picture, bar=bar)

    def difference(run: NamedArray) -> FigurePanel:
        name = f"{first.run} − {run.run}"
        picture = np.asarray(difference_picture(first.values, run.values, scale, palette))
        label = "difference" if len(_planes(run.values)) == 1 else "difference, largest channel"
        bar = (
            ColourBar(WHOSE, -1, 1, f"1: {first.run} only; -1: {run.run} only")
            if masks
            else ColourBar(palette.diverging_table, -scale, scale, label)
        )
        return FigurePanel(name, picture, bar=bar)

    return quick_picture(tuple((panel(first), panel(run), difference(run)) for run in later))


def _planes(values: Array) -> Array:
    """Return an array as float32 [C, h, w]."""
    return values.astype(np.float32).reshape(-1, *values.shape[-2:])


def difference_picture(a: Array, b: Array, scale: float, palette: Palette) -> Image.Image:
    """Draw A − B in diverging colours, or two masks over each other.

    Of a pixel's channels, the one that differs most is drawn, so that none hides another.

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
