"""Marks in figures: lines over a panel that show what a seed asks about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradviz.arrays import Size
from gradviz.figure.panels import FigureLine, Rgb
from gradviz.heatmap.marks import CASING, colour_of, strokes
from gradviz.image.frame import Frame
from gradviz.marks import Mark

MARK_WIDTH = 1.1
"""The width of a mark's lines in points."""


def mark_lines(
    marks: Sequence[Mark], size: Size, frame: Frame | None = None
) -> tuple[FigureLine, ...]:
    """Return the lines of marks over a panel.

    Args:
        marks: the marks, in pixels of the input.
        size: the width and height of the panel's picture.
        frame: given for a picture in the image file's own pixels.
    """
    return tuple(
        FigureLine(np.array(points), _unit(colour_of(mark)), MARK_WIDTH, edge=_unit(CASING))
        for mark in marks
        for points in strokes(mark, size, frame)
    )


def _unit(levels: tuple[int, int, int]) -> Rgb:
    red, green, blue = (level / 255 for level in levels)
    return red, green, blue
