"""The view of the output: what the model answered, with a legend below."""

from __future__ import annotations

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gradviz.arrays import Bytes, Numbers, Size
from gradviz.heatmap.colours import NONFINITE, Palette, load_palette
from gradviz.image.frame import Frame
from gradviz.text import shortened

OUTPUT_COLOURS = "viridis"
"""A perceptual colour map that is not that of gradients."""

LegendColour = tuple[int, int, int]

CROPPED: LegendColour = (0, 0, 0)
"""The colour of the image file's pixels that did not enter the model."""

LEGEND_WIDTH = 240
"""The least width of a legend in pixels; it may be wider than the picture above it."""
LETTERS = 42
"""The letters in a line of a legend."""


@dataclass(frozen=True)
class OutputLegend:
    """The text below an output."""

    lines: tuple[str, ...]
    colours: tuple[LegendColour, ...] = ()
    """The colour before each line; empty for none."""
    low: float | None = None
    """The value of the lowest colour of a bar; None for no bar."""
    high: float | None = None
    """The value of its highest colour."""


def output_palette() -> Palette:
    """Return the colours of output values."""
    return load_palette(OUTPUT_COLOURS)


def class_colour(index: int) -> LegendColour:
    """Return the colour of a class; neighbouring numbers have hues far apart."""
    # Steps of the golden ratio never meet, and every other hue is darker.
    red, green, blue = hsv_to_rgb(index * 0.618034 % 1, 0.65, 0.95 if index % 2 == 0 else 0.7)
    return round(255 * red), round(255 * green), round(255 * blue)


def picture_of_values(
    plane: Numbers, low: float, high: float, size: Size, frame: Frame | None = None
) -> Image.Image:
    """Draw the values of an output map.

    Args:
        plane: [h, w].
        low: the value of the lowest colour.
        high: the value of the highest colour.
        size: the width and height of the input.
        frame: given to draw in the image file's own pixels.

    Returns:
        an RGB picture. NaN and Inf are painted in `NONFINITE`.
    """
    finite = np.isfinite(plane)
    span = np.float64(high) - low
    t = np.where(finite, plane.astype(np.float64) - low, 0) / (span if span > 0 else 1)
    pixels = output_palette().sequential(t.clip(0, 1))
    pixels[~finite] = NONFINITE
    return _placed(pixels, size, frame)


def picture_of_classes(
    winners: NDArray[np.intp], size: Size, frame: Frame | None = None
) -> Image.Image:
    """Draw the class that wins at each place.

    Args:
        winners: the numbers of the classes, [h, w].
        size: the width and height of the input.
        frame: given to draw in the image file's own pixels.
    """
    table = np.array([class_colour(n) for n in range(int(winners.max()) + 1)], np.uint8)
    return _placed(table[winners], size, frame)


def _placed(pixels: Bytes, size: Size, frame: Frame | None) -> Image.Image:
    """Resize an output's pixels [h, w, 3] to the input, and place them in the image file."""
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
    if frame is None or frame.unchanged:
        return picture
    planes = np.asarray(picture).transpose(2, 0, 1)
    return Image.fromarray(frame.in_image(planes, CROPPED[0]).transpose(1, 2, 0))


def with_legend(picture: Image.Image, legend: OutputLegend) -> Image.Image:
    """Put a picture above its legend, on white.

    Args:
        picture: RGB; it keeps its pixels, from the upper left corner on.
        legend: what stands below.
    """
    width = max(picture.width, LEGEND_WIDTH)
    line = round(width / 16)
    font, gap = ImageFont.load_default(width / 22), line // 3
    rows = len(legend.lines) + (legend.low is not None)
    sheet = Image.new("RGB", (width, picture.height + rows * line + 2 * gap), "white")
    sheet.paste(picture)
    pen, y = ImageDraw.Draw(sheet), picture.height + gap
    if legend.low is not None and legend.high is not None:
        low, high = (f"{value:.3g}" for value in (legend.low, legend.high))
        left, right = gap + int(pen.textlength(low, font)), int(pen.textlength(high, font)) + gap
        pen.text((gap, y), low, "black", font)
        pen.text((width - right, y), high, "black", font)
        ramp = output_palette().sequential(np.linspace(0, 1, 255))[None]
        bar = Image.fromarray(ramp).resize((width - left - right - 4 * gap, line - gap))
        sheet.paste(bar, (left + 2 * gap, y + gap // 2))
        y += line
    for place, text in enumerate(legend.lines):
        x = gap
        if legend.colours:
            side = line - gap
            pen.rectangle((x, y, x + side, y + side), legend.colours[place])
            x += side + gap
        pen.text((x, y), shortened(text, LETTERS), "black", font)
        y += line
    return sheet


def class_areas(winners: NDArray[np.intp], most: int) -> Sequence[tuple[int, float]]:
    """List the classes that win at most places, each with its share of the map."""
    counts = np.bincount(winners.ravel())
    first = np.argsort(-counts, kind="stable")[:most]
    return [(int(n), float(counts[n] / winners.size)) for n in first if counts[n]]
