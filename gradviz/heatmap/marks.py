"""Marks, drawn: the lines that show in a picture what a seed asks about.

What is added is white, and what is subtracted is blue; both lie within black, so that they show on
every map. A place too small to be seen gets four ticks around it, which leave it free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw

from gradviz.arrays import Size
from gradviz.image.frame import Frame
from gradviz.marks import Mark, Ring

ADDED = (255, 255, 255)
SUBTRACTED = (64, 160, 255)
CASING = (0, 0, 0)

SMALL_PLACE = 0.04
"""A place whose sides are a smaller share of the picture's longer side has ticks around it."""
TICK_GAP, TICK = 0.02, 0.04
"""The distance from a small place to its ticks, and their length, as shares of the same side."""
LEAST_TICK = 3.0
"""The least distance and length of ticks, in pixels of the picture."""
LINE_WIDTH = 1 / 320
"""The width of a line in a picture, as a share of the same side; at least a pixel."""


def colour_of(mark: Mark) -> tuple[int, int, int]:
    """Return the colour of a mark."""
    return SUBTRACTED if mark.factor < 0 else ADDED


def strokes(mark: Mark, size: Size, frame: Frame | None = None) -> Iterator[Ring]:
    """Yield the lines of a mark.

    Args:
        mark: the mark, in pixels of the input.
        size: the width and height of the picture.
        frame: given for a picture in the image file's own pixels.

    Yields:
        the corners x, y of a line in pixels of the picture; a closed one ends where it begins.
    """
    if frame is None:
        rings = mark.outline
    else:
        rings = tuple(tuple(frame.to_image(*corner) for corner in ring) for ring in mark.outline)
    rings = tuple(tuple(_near(corner, size) for corner in ring) for ring in rings)
    x, y = zip(*(corner for ring in rings for corner in ring), strict=True)
    x0, y0, x1, y1 = min(x), min(y), max(x), max(y)
    if max(x1 - x0, y1 - y0) >= SMALL_PLACE * max(size):
        yield from ((*ring, ring[0]) for ring in rings)
        return
    gap, tick = (max(LEAST_TICK, share * max(size)) for share in (TICK_GAP, TICK))
    u, v = (x0 + x1) / 2, (y0 + y1) / 2
    for end, sign in ((x0, -1), (x1, 1)):
        yield (end + sign * gap, v), (end + sign * (gap + tick), v)
    for end, sign in ((y0, -1), (y1, 1)):
        yield (u, end + sign * gap), (u, end + sign * (gap + tick))


def _near(corner: tuple[float, float], size: Size) -> tuple[float, float]:
    """Move a corner that is far away to a picture's width beside it: a detector's may be Inf."""
    x, y = (min(max(place, -side), 2.0 * side) for place, side in zip(corner, size, strict=True))
    return x, y


def draw_marks(picture: Image.Image, marks: Sequence[Mark], frame: Frame | None = None) -> None:
    """Draw marks over a picture.

    Args:
        picture: RGB, of the input's size, or of the image file's with a frame.
        marks: the marks.
        frame: given for a picture in the image file's own pixels.
    """
    pen, width = ImageDraw.Draw(picture), max(1, round(LINE_WIDTH * max(picture.size)))
    for mark in marks:
        lines = [
            # Pixel i covers [i, i + 1), and lines go through the centres of pixels.
            [(x - 0.5, y - 0.5) for x, y in line]
            for line in strokes(mark, picture.size, frame)
        ]
        for colour, wide in ((CASING, width + 2 * max(1, width // 2)), (colour_of(mark), width)):
            for line in lines:
                pen.line(line, fill=colour, width=wide, joint="curve")
