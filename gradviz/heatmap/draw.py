"""A gradient and a view become a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gradviz.heatmap.colours import NONFINITE, Palette
from gradviz.heatmap.views import Bytes, Floats, View
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
        g: the gradient or attribution [C, h, w], channels in the picture's order.
        view: a row of `VIEWS`.
        scale: the magnitude that gets the strongest colour; 0 draws an evenly blank picture.
        palette: the colour maps.
        backdrop: what an overlay lies on, uint8 RGB: [h, w, 3], or [H, W, 3] of the image file.
        frame: given to draw in the image file's own pixels [H, W]; what was cropped away is zero.

    Returns:
        an RGB picture of w×h, or W×H with a frame. NaN and Inf are painted in `NONFINITE`.
    """
    quantity = view.quantity(g)
    broken = np.asarray(~np.isfinite(g).all(axis=0))
    t = np.zeros_like(quantity)
    if scale > 0:
        finite = np.where(np.isfinite(quantity), quantity, 0)
        t = np.clip(finite, -scale, scale) / scale
    if frame is not None:
        t, broken = frame.in_image(t, 0.0), frame.in_image(broken, False)
    pixels = view.paint(t, palette, backdrop)
    pixels[broken] = NONFINITE
    return Image.fromarray(pixels)
