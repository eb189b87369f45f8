"""The box of every output pixel, at the cost of its columns and rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradviz.errors import ModelError
from gradviz.field.geometry import Axis, Geometry
from gradviz.field.probe import Probe, ProbeFactory

NOTHING = -1
"""All four numbers of the box of an output pixel to which nothing matters."""

Boxes = NDArray[np.int32]


STRIP = 64
"""How high the input is on which columns are asked, and how wide for rows."""


def boxes_of(probe: Probe, probe_at: ProbeFactory, geometry: Geometry) -> Boxes:
    """The structural box of every output pixel, [h, w, 4]: x0, y0, x1, y1 inclusive.

    A window is a range of columns times a range of rows, so a pixel's box is that of its column
    and that of its row: columns are asked on a strip of the input's width, rows on one of its
    height. Those whose fields cannot overlap share a pass, so on a map wider than the field the
    number of passes is about the field's size over the stride, for each axis, however large the
    map. Where the field is global every column has its own pass.

    That is exact for networks of windows. Whether it is one is checked in two ways: taint outside
    the columns that a pass may reach, and a sample of pixels (corners, edges, some at random) asked
    one by one on the whole input. Where either finds a difference, every pixel is asked.

    Args:
        probe: on an input of the size that is asked about.
        probe_at: makes a probe of the same network on a strip.
        geometry: that of the probe's output.
    """
    width, height = probe.size
    boxes = np.empty((height, width, 4), np.int32)
    columns = _extents(_strip(probe, probe_at, 0), 0, geometry.x)
    rows = _extents(_strip(probe, probe_at, 1), 1, geometry.y)
    if columns is not None and rows is not None:
        boxes[:, :, (0, 2)] = columns[None]
        boxes[:, :, (1, 3)] = rows[:, None]
        boxes[(boxes == NOTHING).any(axis=-1)] = NOTHING
    if (
        columns is None
        or rows is None
        or any(_box(probe, x, y) != tuple(boxes[y, x]) for x, y in _witnesses(width, height))
    ):
        for y, x in np.ndindex(height, width):
            boxes[y, x] = _box(probe, x, y)
    return boxes


def _strip(probe: Probe, probe_at: ProbeFactory, axis: int) -> Probe:
    """A probe on a strip, if the model runs on one and gives a map of the same length there."""
    height, width = probe.x.shape[2:]
    try:
        strip = probe_at((width, min(STRIP, height)) if axis == 0 else (min(STRIP, width), height))
    except ModelError:
        return probe
    return strip if strip.size[axis] == probe.size[axis] else probe


def _extents(probe: Probe, axis: int, measured: Axis | None) -> NDArray[np.int32] | None:
    """The first and last input column (axis 0) or row (axis 1) of each of the output's, [n, 2].

    None where one of them reaches further than was measured.
    """
    count = probe.size[axis]
    apart = count if measured is None else _apart(measured, count)
    extents = np.full((count, 2), NOTHING, np.int32)
    for start in range(apart):
        group = range(start, count, apart)
        reached = np.asarray(probe.lines(group, axis).any(axis=axis))
        for i in group:
            low, high = (0, len(reached) - 1) if measured is None else measured.extent(i)
            low = max(0, low)
            places = np.flatnonzero(reached[low : high + 1])
            if len(places):
                extents[i] = low + places[0], low + places[-1]
            reached[low : high + 1] = False
        if reached.any():
            return None
    return extents


def _apart(axis: Axis, count: int) -> int:
    """How many output pixels apart fields never overlap."""
    period = range(len(axis.first))
    return next(
        step
        for step in range(1, count + 1)
        if step == count or all(axis.extent(k)[1] < axis.extent(k + step)[0] for k in period)
    )


def _box(probe: Probe, x: int, y: int) -> tuple[int, int, int, int]:
    return probe.structural(x, y).box or (NOTHING,) * 4


def _witnesses(width: int, height: int) -> Iterator[tuple[int, int]]:
    draw = np.random.default_rng(0)
    for x in (0, width // 2, width - 1):
        for y in (0, height // 2, height - 1):
            yield x, y
    for _ in range(7):
        yield int(draw.integers(width)), int(draw.integers(height))
