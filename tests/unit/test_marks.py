"""Outlines of masks, against the masks themselves."""

from __future__ import annotations

import numpy as np
import pytest

from gradviz.arrays import Mask
from gradviz.marks import MOST_CORNERS, Ring, outline_of


def outline(inside: Mask) -> tuple[Ring, ...]:
    """The outline of a mask whose cells are pixels."""
    height, width = inside.shape
    return outline_of(inside, range(width + 1), range(height + 1))


def filled(rings: tuple[Ring, ...], shape: tuple[int, int]) -> Mask:
    """The pixels whose centre is inside of an odd number of rings, by rays to the right."""
    crossed = np.zeros(shape, int)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, (*ring[1:], ring[0]), strict=True):
            assert (x0 == x1) != (y0 == y1), "a side is horizontal or vertical"
            top, bottom = sorted((int(y0), int(y1)))
            crossed[top:bottom, : int(x0)] += 1
    return np.asarray(crossed % 2 == 1)


def area(ring: Ring) -> float:
    pairs = zip(ring, (*ring[1:], ring[0]), strict=True)
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs) / 2


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_an_outline_holds_the_true_cells(share: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        inside = random.random(tuple(random.integers(1, 9, 2))) < share
        rings = outline(inside)
        assert (filled(rings, inside.shape) == inside).all()
        assert sum(map(area, rings)) == inside.sum()  # holes run the other way round
        for ring in rings:  # every corner is one
            for before, at, after in zip((ring[-1], *ring), ring, (*ring[1:], ring[0])):  # noqa: B905
                assert (before[0] == at[0]) != (at[0] == after[0])


def test_cells_that_touch_at_a_corner_are_apart() -> None:
    rings = outline(np.array([[True, False], [False, True]]))
    assert sorted(map(sorted, rings)) == [
        [(0, 0), (0, 1), (1, 0), (1, 1)],
        [(1, 1), (1, 2), (2, 1), (2, 2)],
    ]


def test_an_outline_of_many_corners_is_that_of_coarser_cells() -> None:
    inside = np.random.default_rng(0).random((101, 203)) < 0.02
    rings = outline(inside)
    assert sum(map(len, rings)) <= MOST_CORNERS
    blocks = np.zeros_like(inside)
    for y, x in np.argwhere(inside) // 4 * 4:
        blocks[y : y + 4, x : x + 4] = True
    assert (filled(rings, inside.shape) == blocks).all()


def test_a_mask_of_noise_has_an_outline_soon() -> None:
    inside = np.random.default_rng(0).random((2000, 3000)) < 0.5
    assert sum(map(len, outline(inside))) <= MOST_CORNERS
