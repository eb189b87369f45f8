"""Views, the ways to draw a gradient: their table, and the function that draws one.

A view is three choices: which quantity is drawn, what it is divided by, and how the ratio becomes
colour. To add one, write a row of `VIEWS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gradviz.arrays import Bytes, Doubles, Floats, Numbers, Size
from gradviz.heatmap.colours import NONFINITE, Palette
from gradviz.image.frame import Frame
from gradviz.image.read import luma

CLIP = 99.0
"""The percentile of a map's non-zero values that gets the strongest colour."""


@dataclass(frozen=True)
class View:
    """One row of the table of views."""

    name: str
    meaning: str
    quantity: Callable[[Floats], Doubles]
    """The function from the gradient g [C, H, W] to what is drawn, [H, W] or [C, H, W]."""
    paint: Callable[[Doubles, Palette, Bytes], Bytes]
    """`(quantity / scale clipped to [-1, 1], palette, input picture [H, W, 3]) -> [H, W, 3]`."""
    signed: bool = False
    """True if the quantity can be negative."""


def scale_of(quantity: Numbers, clip: float) -> float:
    """Compute the `clip` percentile of |quantity| over values that are not zero, NaN or Inf.

    Zeros are left out: the gradient of one output pixel is zero almost everywhere, and its scale
    must not be.

    Args:
        quantity: numbers of any shape.
        clip: the percentile, in (0, 100].

    Returns:
        the percentile; 0 if no value is left.
    """
    return _percentile([quantity], quantity.size, clip)


def scale_in(g: Floats, view: View, clip: float) -> float:
    """Compute the scale of a view of a gradient, strip by strip to save memory.

    Args:
        g: the gradient [C, H, W].
        view: a row of `VIEWS`.
        clip: the percentile, in (0, 100].

    Returns:
        `scale_of` the quantity that the view draws.
    """
    parts = (view.quantity(g[:, rows]) for rows in strips(*g.shape[1:]))
    return _percentile(parts, g.size, clip)


def _percentile(parts: Iterable[Numbers], most: int, clip: float) -> float:
    """Compute the `clip` percentile of |values| over parts with at most `most` values in all."""
    sizes, count = np.empty(most), 0
    for part in parts:
        found = np.abs(part[np.isfinite(part) & (part != 0)], dtype=np.float64)
        sizes[count : count + len(found)] = found
        count += len(found)
    if not count:
        return 0.0
    return float(np.percentile(sizes[:count], clip, overwrite_input=True))


def _magnitude(g: Floats) -> Doubles:
    return _sum(np.abs(g))


def _sum(g: Floats) -> Doubles:
    # The sum of finite float32 numbers need not be one.
    total: Doubles = g.sum(axis=0, dtype=np.float64)
    return total


def _sequential(t: Doubles, palette: Palette, shown: Bytes) -> Bytes:
    return palette.sequential(t)


def _diverging(t: Doubles, palette: Palette, shown: Bytes) -> Bytes:
    return palette.diverging(t)


def _gray(t: Doubles, palette: Palette, shown: Bytes) -> Bytes:
    return _bytes(np.repeat(t[..., None], 3, axis=-1))


def _rgb(t: Doubles, palette: Palette, shown: Bytes) -> Bytes:
    channels = t if len(t) == 3 else np.broadcast_to(t.mean(axis=0), (3, *t.shape[1:]))
    return _bytes(0.5 + 0.5 * np.moveaxis(channels, 0, -1))


def _overlay(t: Doubles, palette: Palette, shown: Bytes) -> Bytes:
    # The picture fades to dim gray, so that every hue in the result is the map's. The square root
    # keeps weak parts of the map visible.
    backdrop = 0.8 * luma(np.moveaxis(shown, -1, 0).astype(np.float32))[..., None]
    weight = 0.9 * np.sqrt(t)[..., None]
    blend: Bytes = np.round(backdrop * (1 - weight) + palette.sequential(t) * weight).astype(
        np.uint8
    )
    return blend


def _bytes(unit: Numbers) -> Bytes:
    return np.round(255 * unit).astype(np.uint8)


VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View("heatmap", "Σ|g| over the channels, sequential colours", _magnitude, _sequential),
        View(
            "signed",
            "Σg over the channels, diverging colours, zero neutral",
            _sum,
            _diverging,
            True,
        ),
        View(
            "rgb",
            "each channel of g around mid-gray (the mean, unless there are three)",
            lambda g: g.astype(np.float64),
            _rgb,
            signed=True,
        ),
        View(
            "positive",
            "where more would raise the output: max(Σg, 0)",
            lambda g: np.maximum(_sum(g), 0),
            _sequential,
        ),
        View(
            "negative",
            "where more would lower the output: max(−Σg, 0)",
            lambda g: np.maximum(-_sum(g), 0),
            _sequential,
        ),
        View("gray", "as heatmap, in gray", _magnitude, _gray),
        View("overlay", "the heatmap over the input that the model saw", _magnitude, _overlay),
    )
}
"""Every view, by name, in the order of the documentation."""


STRIP_PIXELS = 1 << 20
"""The approximate number of pixels in a strip."""


def strips(height: int, width: int) -> Iterator[slice]:
    """Cut the rows of an image into strips, from the top down."""
    rows = max(1, STRIP_PIXELS // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def draw(
    g: Floats,
    view: View,
    scale: float,
    palette: Palette,
    backdrop: Bytes,
    frame: Frame | None = None,
) -> Image.Image:
    """Draw one view of a gradient.

    Args:
        g: the gradient or attribution, channels in the picture's order: [C, h, w], or smaller as a
            layer's is, and then enlarged.
        view: a row of `VIEWS`.
        scale: the magnitude that gets the strongest colour; 0 draws an evenly blank picture.
        palette: the colour maps.
        backdrop: what an overlay lies on, uint8 RGB: [h, w, 3], or [H, W, 3] of the image file.
        frame: given to draw in the image file's own pixels [H, W]; what was cropped away is zero.

    Returns:
        an RGB picture of w×h, or W×H with a frame. NaN and Inf are painted in `NONFINITE`.
    """
    if frame is not None and frame.image == frame.resized == frame.input:
        frame = None  # the input's pixels are the file's own
    height, width, _ = backdrop.shape
    if frame is not None or g.shape[1:] != (height, width):
        return Image.fromarray(_pixels(g, view, scale, palette, backdrop, frame))
    pixels = np.empty_like(backdrop)
    for rows in strips(height, width):
        pixels[rows] = _pixels(g[:, rows], view, scale, palette, backdrop[rows])
    return Image.fromarray(pixels)


def _pixels(
    g: Floats,
    view: View,
    scale: float,
    palette: Palette,
    backdrop: Bytes,
    frame: Frame | None = None,
) -> Bytes:
    quantity = view.quantity(g)
    broken = np.asarray(~np.isfinite(g).all(axis=0))
    t = np.zeros_like(quantity)
    if scale > 0:
        finite = np.where(np.isfinite(quantity), quantity, 0)
        t = np.clip(finite, -scale, scale) / scale
    size = frame.input if frame is not None else (backdrop.shape[1], backdrop.shape[0])
    t, broken = _enlarged(t, size), _enlarged(broken, size)
    if frame is not None:
        t, broken = frame.in_image(t, 0.0), frame.in_image(broken, False)
    pixels = view.paint(t, palette, backdrop)
    pixels[broken] = NONFINITE
    return pixels


def _enlarged(values: np.ndarray, size: Size) -> np.ndarray:
    """Resize planes [..., h, w] to a size: numbers bilinear, truth values nearest."""
    if values.shape[-2:] == size[::-1]:
        return values
    how = Image.Resampling.NEAREST if values.dtype == bool else Image.Resampling.BILINEAR
    planes = values.astype(np.float32).reshape(-1, *values.shape[-2:])
    drawn = [np.asarray(Image.fromarray(plane).resize(size, how)) for plane in planes]
    return np.stack(drawn).reshape(*values.shape[:-2], *size[::-1]).astype(values.dtype)
