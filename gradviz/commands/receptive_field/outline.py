"""The lines around one field: what a figure keeps of it until all fields are measured."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gradviz.arrays import Box, Bytes, Doubles, box_around
from gradviz.commands.receptive_field.draw import (
    footprint_of,
    in_picture,
    is_small,
    part_around,
)
from gradviz.commands.receptive_field.measure import Field
from gradviz.field.effective import contour_levels, smooth_energy
from gradviz.runs.names import MEAN, NOISE

_BELOW = 1 - 1e-9
"""Contours go this little below their level, around the pixels that are at it."""


@dataclass(frozen=True, eq=False)
class FieldOutline:
    """The lines around a field, in pixels of its picture, where pixel `i` covers `[i, i + 1)`."""

    image: str
    asked: str
    """The output pixel in the words of the command."""
    box: Box | None
    """The box of the structural field; None if nothing can matter."""
    close_up: Box | None
    """The part of the picture around the field, if it is small."""
    footprint: tuple[float, float, float, float]
    """The part of the picture that the output pixel covers: x0, y0, x1, y1."""
    contours: tuple[tuple[Doubles, ...], ...] = field(repr=False)
    """The lines [N, 2] around the region that holds each share of `CONTOURS`; empty without
    energy."""
    shown: Bytes | None = field(default=None, repr=False)
    """The picture [H, W, 3]; None if it is that of an image file, which can be read again."""


def lines_around(field: Field) -> FieldOutline:
    """Find the lines around a field."""
    mask = in_picture(field, field.structural.mask)
    box = box_around(mask)
    is_close = box is not None and is_small(box, mask.shape)
    return FieldOutline(
        image=field.image,
        asked=field.asked,
        box=box,
        close_up=part_around(box, mask.shape) if box is not None and is_close else None,
        footprint=footprint_of(field),
        contours=_contours(field),
        shown=field.shown if field.image in (NOISE, MEAN) else None,
    )


def _contours(field: Field) -> tuple[tuple[Doubles, ...], ...]:
    from contourpy import contour_generator

    smooth = smooth_energy(field.energy)
    levels = contour_levels(smooth)
    # Smoothed, the energy reaches a little way out of the field.
    inside = np.where(field.structural.mask, smooth, 0)
    if not levels or min(inside.shape) < 2:
        return ()
    rows, columns = inside.shape
    x, y = np.arange(columns) + 0.5, np.arange(rows) + 0.5
    if field.frame is not None:
        (left, top), (right, bottom) = (field.frame.to_image(at, at) for at in (0, 1))
        x, y = left + (right - left) * x, top + (bottom - top) * y
    found = contour_generator(x, y, inside)
    return tuple(tuple(np.asarray(line) for line in found.lines(at * _BELOW)) for at in levels)
