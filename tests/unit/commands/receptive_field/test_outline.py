"""The lines around a field, against the circles of a bell."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gradviz.arrays import Doubles
from gradviz.commands.receptive_field.measure import Field
from gradviz.commands.receptive_field.outline import lines_around
from gradviz.field.effective import CONTOURS
from gradviz.field.probe import StructuralField
from gradviz.image.frame import Frame

SIDE, SIGMA, CENTRE = 121, 9.0, (50.5, 60.5)


def bell() -> Field:
    """A field whose energy is a bell around (50.5, 60.5), where everything can matter."""
    x, y = np.arange(SIDE) + 0.5, np.arange(SIDE)[:, None] + 0.5
    energy = np.exp(-((x - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2) / (2 * SIGMA**2))
    everywhere = np.ones((SIDE, SIDE), bool)
    return Field(
        image="a.png",
        pixel=(50, 60),
        asked="pixel 50,60",
        structural=StructuralField(everywhere, (), None),
        local=everywhere,
        energy=energy,
        contribution=energy,
        footprint=(50, 60, 51, 61),
        shown=np.zeros((SIDE, SIDE, 3), np.uint8),
    )


def radii(lines: tuple[Doubles, ...], centre: tuple[float, float]) -> Doubles:
    x, y = (np.concatenate(lines) - np.array(centre)).T
    found: Doubles = np.hypot(x, y)
    return found


def test_contours_are_the_circles_that_hold_the_shares() -> None:
    """Within r of the middle, a bell holds 1 − exp(−r²/2σ²) of its energy."""
    smoothed = math.hypot(SIGMA, 0.01 * (SIDE - 1))
    found = lines_around(bell()).contours
    for share, lines in zip(CONTOURS, found, strict=True):
        (line,) = lines
        assert np.array_equal(line[0], line[-1]), "a circle is closed"
        radius = smoothed * math.sqrt(-2 * math.log(1 - share / 100))
        assert radii(lines, CENTRE) == pytest.approx(radius, abs=0.5)
        assert radii(lines, CENTRE).mean() == pytest.approx(radius, abs=0.2)


def test_contours_lie_in_the_photo() -> None:
    """Four by two photo pixels for one of the input; 5 and 3 resized ones were cropped away."""
    frame = Frame((4 * 131, 2 * 127), (131, 127), (5, 3), (SIDE, SIDE))
    photo = np.zeros((2 * 127, 4 * 131, 3), np.uint8)
    plain, placed = lines_around(bell()), lines_around(bell().drawn_in(photo, frame))
    for before, after in zip(plain.contours, placed.contours, strict=True):
        expected = (np.concatenate(before) + np.array([5, 3])) * [4, 2]
        assert np.concatenate(after) == pytest.approx(expected)
    assert placed.footprint == (4 * 55, 2 * 63, 4 * 56, 2 * 64)
    assert placed.box == (4 * 5, 2 * 3, 4 * 126, 2 * 124)


def test_contours_stay_within_the_field() -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[52:70, 42:60] = True
    field = replace(bell(), structural=StructuralField(mask, (), None))
    for lines in lines_around(field).contours:
        points = np.concatenate(lines)
        assert (
            points.min(axis=0) == pytest.approx([42, 52], abs=0.6)
            or (points.min(axis=0) > [42, 52]).all()
        )
        assert (points.max(axis=0) <= [60.5, 70.5]).all()


def test_without_energy_there_are_no_contours() -> None:
    empty = np.zeros((SIDE, SIDE))
    outline = lines_around(replace(bell(), energy=empty))
    assert outline.contours == () and outline.box == (0, 0, SIDE, SIDE)
