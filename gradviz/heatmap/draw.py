"""Drawing: the scale of a view, and the picture that it makes of a gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from gradviz.arrays import Bytes, Floats, Numbers, Size
from gradviz.heatmap.clip import Clip, clipped_at
from gradviz.heatmap.colours import NONFINITE, Palette
from gradviz.heatmap.views import View
from gradviz.image.frame import Frame

STRIP_PIXELS = 1 << 20
"""The approximate number of pixels in a strip."""


def strips(height: int, width: int) -> Iterator[slice]:
    """Cut the rows of an image into strips, from the top down."""
    rows = max(1, STRIP_PIXELS // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def scale_of(quantity: Numbers, clip: Clip) -> float:
    """Find the clip of |quantity| over values that are not zero, NaN or Inf.

    Zeros are left out: the gradient of one output pixel is zero almost everywhere, and its scale
    must not be.

    Args:
        quantity: numbers of any shape.
        clip: a percentile in (0, 100], or `energy:P`.

    Returns:
        the value that gets the strongest colour; 0 if no value is left.
    """
    return _scale([quantity], quantity.size, clip)


def scale_in(g: Floats, view: View, clip: Clip) -> float:
    """Compute the scale of a view of a gradient, strip by strip to save memory.

    Args:
        g: the gradient [C, H, W].
        view: a row of `VIEWS`.
        clip: a percentile in (0, 100], or `energy:P`.

    Returns:
        `scale_of` the quantity that the view draws.
    """
    parts = (view.quantity(g[:, rows]) for rows in strips(*g.shape[1:]))
    return _scale(parts, g.size, clip)


def _scale(parts: Iterable[Numbers], most: int, clip: Clip) -> float:
    """Find the clip of |values| over parts with at most `most` values in all."""
    sizes, count = np.empty(most), 0
    for part in parts:
        found = np.abs(part[np.isfinite(part) & (part != 0)], dtype=np.float64)
        sizes[count : count + len(found)] = found
        count += len(found)
    if not count:
        return 0.0
    return clipped_at(sizes[:count], clip)


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
    if frame is not None and frame.unchanged:
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
