"""Marks: the places that a seed asks about, as lines over the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradviz.arrays import Mask

MOST_CORNERS = 1024
"""The most corners of an outline; a mask that has more is outlined in coarser cells."""

Ring = tuple[tuple[float, float], ...]
"""The corners x, y of a closed line."""


@dataclass(frozen=True)
class Mark:
    """The place that one term of a seed asks about."""

    term: str
    """The text of the term, without its factor."""
    factor: float
    """The factor before the term; below 0 if it is subtracted."""
    outline: tuple[Ring, ...]
    """The closed lines around the place, in pixels of the input: pixel i covers [i, i + 1)."""


def around(x0: float, y0: float, x1: float, y1: float) -> tuple[Ring, ...]:
    """Outline a box."""
    return (((x0, y0), (x1, y0), (x1, y1), (x0, y1)),)


def outline_of(inside: Mask, columns: Sequence[float], rows: Sequence[float]) -> tuple[Ring, ...]:
    """Outline the true cells of a grid.

    An outline of more than `MOST_CORNERS` corners is that of coarser cells, each of which is true
    if any cell of the grid in it is.

    Args:
        inside: truth values [h, w].
        columns: the w + 1 edges of the columns.
        rows: the h + 1 edges of the rows.

    Returns:
        a closed line around each part and each hole; true cells that touch at a corner alone are
        parts of their own.
    """
    block, cells = 1, inside
    while _corners(cells) > MOST_CORNERS:
        block *= 2
        cells = _coarser(cells)
    x, y = (
        [edges[min(n * block, len(edges) - 1)] for n in range(length + 1)]
        for edges, length in ((columns, cells.shape[1]), (rows, cells.shape[0]))
    )
    return tuple(tuple((x[i], y[j]) for i, j in ring) for ring in _rings(cells))


def _coarser(cells: Mask) -> Mask:
    import numpy as np

    height, width = cells.shape
    even = np.pad(cells, ((0, height % 2), (0, width % 2)))
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2)
    return np.asarray(blocks.any(axis=(1, 3)))


def _corners(cells: Mask) -> int:
    """Count the corners of the outline: one or three of four cells are true, or two across."""
    import numpy as np

    padded = np.pad(cells, 1).astype(np.uint8)
    one, two, three, four = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    total = one + two + three + four
    return int((total % 2 == 1).sum() + 2 * ((total == 2) & (one == four)).sum())


def _rings(cells: Mask) -> list[list[tuple[int, int]]]:
    """Walk along the edges of the true cells, which lie to the right; keep the corners."""
    import numpy as np

    padded = np.pad(cells, 1)
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (down, right), (low, high) in (
        ((0, 1), (padded[:-1, 1:-1], padded[1:, 1:-1])),
        ((1, 0), (padded[1:-1, 1:], padded[1:-1, :-1])),
    ):
        for true_after, sign in ((True, 1), (False, -1)):
            edge = (high & ~low) if true_after else (low & ~high)
            for j, i in zip(*np.nonzero(edge), strict=True):
                start = (int(i), int(j))
                if sign < 0:
                    start = (start[0] + right, start[1] + down)
                steps.setdefault(start, []).append((sign * right, sign * down))
    rings = []
    while steps:
        at = start = next(iter(steps))
        ring, before = list[tuple[int, int]](), (0, 0)
        while at in steps:
            # At a point where four edges meet, a turn to the right stays at the same cell.
            ways = steps[at]
            turn = (-before[1], before[0])
            way = turn if turn in ways else ways[0]
            ways.remove(way)
            if not ways:
                del steps[at]
            if way != before:
                ring.append(at)
            at, before = (at[0] + way[0], at[1] + way[1]), way
            if at == start:
                break
        first = (ring[1][0] - ring[0][0], ring[1][1] - ring[0][1])
        if first[0] * before[1] == first[1] * before[0]:  # the walk began within a side
            ring.pop(0)
        rings.append(ring)
    return rings
