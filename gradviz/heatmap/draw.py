"""A gradient and a view become a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gradviz.arrays import Bytes, Floats, Size
from gradviz.heatmap.colours import NONFINITE, Palette
from gradviz.heatmap.views import View, strips
from gradviz.image.frame import Frame


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
