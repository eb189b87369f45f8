"""Pictures of a receptive field, one picture pixel for each pixel of the input."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
from PIL import Image

from gradviz.arrays import Box, Bytes, Mask, Numbers
from gradviz.heatmap.clip import CLIP, Clip
from gradviz.heatmap.colours import NONFINITE, Palette
from gradviz.heatmap.draw import scale_of

Colour = tuple[int, int, int]

LOG_DECADES = 5
"""The powers of ten below the peak that the logarithmic picture distinguishes."""

DIM = 0.6
"""The share of the image's brightness that is left outside the mask."""

PIXELS_PER_LINE = 400
"""The pixels of the longer side for each pixel of line width; lines have at least one."""

DARK: Colour = (0, 0, 0)
OUTLINE: Colour = (255, 225, 0)
"""The colour of the mask's outline: yellow inside its edge, beside `DARK` outside."""
BOX: Colour = (0, 230, 255)
"""The colour of the box: dashes, cyan and `DARK` in turn."""
CONTOUR_LINES: tuple[Colour, ...] = (255, 0, 255), (255, 120, 0), (255, 255, 255)
"""The colours of the contours, from the widest: magenta, orange, white."""
FOOTPRINT: tuple[Colour, Colour] = (230, 0, 70), (255, 255, 255)
"""The colours of the output pixel's footprint: a red frame in a white one."""


def mask_picture(mask: Mask) -> Image.Image:
    """Draw the mask [H, W] as a 1-bit picture, white where it is true."""
    return Image.fromarray(mask)


def effective_picture(
    energy: Numbers, palette: Palette, log: bool = False, clip: Clip = CLIP
) -> Image.Image:
    """Draw the energy e [H, W] in sequential colours.

    Args:
        energy: [H, W] of `energy_of`, not negative; NaN and Inf are painted in `NONFINITE`.
        palette: the colour maps. Zero has the lowest colour.
        log: draw t = log₁₀(1 + 10⁵·e/max e) / log₁₀(1 + 10⁵), which rises with e from 0 to 1 and
            gives each of the five powers of ten below the peak about a fifth of the colours.
        clip: without `log`, what gets the highest colour: see `gradviz.heatmap.clip`.

    Returns:
        an RGB picture of W×H; a map without energy is evenly blank.
    """
    broken = ~np.isfinite(energy)
    finite = np.where(broken, 0, energy).astype(np.float64)
    peak = finite.max()
    t = finite / peak if peak > 0 else finite
    if log:
        t = np.log1p(10**LOG_DECADES * t) / np.log1p(10**LOG_DECADES)
    elif peak > 0:
        t = np.minimum(t / scale_of(t.astype(np.float32), clip), 1)
    pixels = palette.sequential(t)
    pixels[broken] = NONFINITE
    return Image.fromarray(pixels)


def overlay_picture(
    backdrop: Bytes,
    mask: Mask,
    box: Box | None,
    footprint: tuple[float, float, float, float],
    contours: Sequence[Mask] = (),
) -> Image.Image:
    """Draw the image with the field marked on it.

    The image is untouched inside the mask and dimmed outside. Lines are one pixel wide on a small
    image, five on one of 2048², and in two tones, so that they show on anything. From the lowest to
    the topmost:

    - the mask's outline, on the mask's side of every edge, holes and the image's border included;
    - the box, dashed, around its pixels; its sides on the image's border are left out: only beyond
      an open side can the field go on;
    - the contours of the energy, inside the edge of each region;
    - the footprint, a double frame around its pixels, likewise open at the image's border.

    Args:
        backdrop: uint8 RGB [H, W, 3].
        mask: bool [H, W].
        box: the bounding box of the mask; None to leave it out.
        footprint: the part of the input that the output pixel itself covers (x0, y0, x1, y1), where
            pixel `i` is `[i, i + 1)`; every pixel it touches belongs to it.
        contours: bool [H, W] each: the regions that are outlined, the widest first.

    Returns:
        an RGB picture of W×H.
    """
    width = max(1, round(max(mask.shape) / PIXELS_PER_LINE))
    pixels = backdrop.copy()
    pixels[~mask] = np.round(DIM * backdrop[~mask]).astype(np.uint8)

    pixels[_grown(mask, width, beyond=False) & ~mask] = DARK
    pixels[_grown(~mask, width, beyond=True) & mask] = OUTLINE

    if box is not None:
        y, x = np.nonzero(_frame(mask, box, 0, width))
        dashes = (x + y) // (4 * width) % 2
        pixels[y, x] = np.where(dashes[:, None], DARK, BOX)

    for region, colour in zip(contours, CONTOUR_LINES, strict=False):
        pixels[_grown(~region, width, beyond=False) & region] = colour

    touched = _touched(footprint)
    for n, colour in enumerate(FOOTPRINT):
        pixels[_frame(mask, touched, n * width, (n + 1) * width)] = colour
    return Image.fromarray(pixels)


def _grown(mask: Mask, steps: int, *, beyond: bool) -> Mask:
    """Find the pixels within some horizontal and vertical steps of the mask.

    Args:
        mask: bool [H, W].
        steps: the number of steps.
        beyond: True if the mask goes on outside the image.
    """
    for _ in range(steps):
        around = np.pad(mask, 1, constant_values=beyond)
        mask = mask | around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]
    return mask


def _frame(mask: Mask, box: Box, near: int, far: int) -> Mask:
    """Find the pixels more than `near` and at most `far` outside a box, in the shape of `mask`."""
    height, width = mask.shape
    x0, y0, x1, y1 = box
    x, y = np.arange(width), np.arange(height)[:, None]
    distance = np.maximum(np.maximum(x0 - x, x - x1 + 1), np.maximum(y0 - y, y - y1 + 1))
    framed: Mask = (distance > near) & (distance <= far)
    return framed


def _touched(footprint: tuple[float, float, float, float]) -> Box:
    # Slightly inside either edge, so that a product such as 3 × (7 / 3) ends where it should.
    x0, y0, x1, y1 = footprint
    left, top = floor(x0 + 1e-6), floor(y0 + 1e-6)
    return left, top, max(ceil(x1 - 1e-6), left + 1), max(ceil(y1 - 1e-6), top + 1)
