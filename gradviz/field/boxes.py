"""The box of every output pixel, at the cost of its columns and rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradviz.arrays import Box
from gradviz.errors import ModelError
from gradviz.field.axis import Axis
from gradviz.field.geometry import Geometry
from gradviz.field.probe import Probe, ProbeFactory

Boxes = NDArray[np.int32]
"""Boxes [..., 4]; an empty one is zeros."""

EMPTY = (0, 0, 0, 0)
"""The box of an output pixel without a field."""

STRIP_WIDTH = 64
"""The width of a strip of input: its height for columns, its width for rows."""


def boxes_of(probe: Probe, probe_at: ProbeFactory, geometry: Geometry) -> Boxes:
    """Find the structural box of every output pixel: boxes [h, w, 4] in pixels of the input.

    A window is a range of columns times a range of rows, so a pixel's box is that of its column and
    that of its row. Columns are measured on a strip of the input's width, rows on one of its
    height. Columns whose fields cannot overlap share a pass. So on a map wider than the field the
    number of passes is about the field's size over the stride, for each axis, however large the
    map. If the field is global, every column has its own pass.

    That is exact for networks of windows. Two checks find other networks: taint outside the columns
    that a pass may reach, and a sample of pixels (corners, edges, some at random) measured one by
    one on the whole input. If either finds a difference, every pixel is measured.

    Args:
        probe: the probe of an input of the size in question.
        probe_at: makes a probe of the same network on a strip.
        geometry: the unclipped field of the probe's output.
    """
    width, height = probe.size
    boxes = np.empty((height, width, 4), np.int32)
    columns = _extents(_strip(probe, probe_at, 0), 0, geometry.x)
    rows = _extents(_strip(probe, probe_at, 1), 1, geometry.y)
    if columns is not None and rows is not None:
        boxes[:, :, (0, 2)] = columns[None]
        boxes[:, :, (1, 3)] = rows[:, None]
        x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
        boxes[(x0 == x1) | (y0 == y1)] = EMPTY
    if (
        columns is None
        or rows is None
        or any(_box(probe, x, y) != tuple(boxes[y, x]) for x, y in _witnesses(width, height))
    ):
        for y, x in np.ndindex(height, width):
            boxes[y, x] = _box(probe, x, y)
    return boxes


def _strip(probe: Probe, probe_at: ProbeFactory, axis: int) -> Probe:
    """Probe a strip if the model runs on one and gives a map of the same length there."""
    height, width = probe.x.shape[2:]
    try:
        strip = probe_at(
            (width, min(STRIP_WIDTH, height)) if axis == 0 else (min(STRIP_WIDTH, width), height)
        )
    except ModelError:
        return probe
    return strip if strip.size[axis] == probe.size[axis] else probe


def _extents(probe: Probe, axis: int, measured: Axis | None) -> NDArray[np.int32] | None:
    """Find the input columns (axis 0) or rows (axis 1) that matter to each of the output's.

    Returns:
        start and stop [n, 2], zeros if nothing matters; None if one of them reaches further than
        was measured.
    """
    count = probe.size[axis]
    apart = count if measured is None else _apart(measured, count)
    extents = np.zeros((count, 2), np.int32)
    for start in range(apart):
        group = range(start, count, apart)
        reached = np.asarray(probe.lines(group, axis).any(axis=axis))
        for i in group:
            low, high = (0, len(reached) - 1) if measured is None else measured.extent(i)
            low = max(0, low)
            places = np.flatnonzero(reached[low : high + 1])
            if len(places):
                extents[i] = low + places[0], low + places[-1] + 1
            reached[low : high + 1] = False
        if reached.any():
            return None
    return extents


def _apart(axis: Axis, count: int) -> int:
    """Find the least distance in output pixels at which fields never overlap."""
    period = range(len(axis.first))
    return next(
        step
        for step in range(1, count + 1)
        if step == count or all(axis.extent(k)[1] < axis.extent(k + step)[0] for k in period)
    )


def _box(probe: Probe, x: int, y: int) -> Box:
    return probe.structural(x, y).box or EMPTY


def _witnesses(width: int, height: int) -> Iterator[tuple[int, int]]:
    draw = np.random.default_rng(0)
    for x in (0, width // 2, width - 1):
        for y in (0, height // 2, height - 1):
            yield x, y
    for _ in range(7):
        yield int(draw.integers(width)), int(draw.integers(height))
