"""Fields measured on strips of input that are long in one axis, pixel by pixel.

Neighbouring output pixels are asked in the middle of a strip. Upsampling makes neighbours differ,
but only up to a period: after it the field has the same shape again, moved by whole input pixels.
This is the slower way, for models whose fields cannot be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradviz.arrays import Size
from gradviz.backward.graph import End, kind_of, nodes_of, shapes_of
from gradviz.errors import ModelError
from gradviz.field.axis import Axis, axis_of
from gradviz.field.probe import Probe, ProbeFactory, Target

SIZES = (64, 128, 224, 256, 512, 1024, 2048)
"""Input sizes that are tried, up to the first on which the field is free of the border."""


LARGEST_SQUARE = 512
"""Largest square tried for models that reject strips; bounded by memory."""


CERTAIN = 1024
"""A field that covers an input of this length is global."""


NEIGHBOURS = 24
"""The least output pixels by which a period is believed."""


MOST_NEIGHBOURS = 72
"""The least output pixels that are looked at before the search for a period ends."""


UNNAMED = "an operation along one axis"
"""The name of what makes a field global along one axis only."""


WINDOWED = frozenset(
    {
        "Convolution",
        "MaxPool2DWithIndices",
        "AvgPool2D",
        "Im2Col",
        "Col2Im",
        "ConstantPadNd",
        "ReflectionPad2D",
        "ReplicationPad2D",
        "UpsampleNearest2D",
        "UpsampleNearestExact2D",
        "UpsampleBilinear2D",
        "UpsampleBicubic2D",
    }
)
"""Operations that reach a bounded way: if they cover a map, a larger one would show the edge."""


@dataclass(frozen=True)
class Covered:
    """A field that reaches from one end of the input to the other."""

    through: str
    """The operation that makes it so."""


def measure_axis(
    probe_at: ProbeFactory,
    axis: int,
    names: Sequence[str | None],
    fixed: Size | None,
    on_step: Callable[[str], object] = lambda step: None,
) -> dict[str | None, Axis | Covered | None]:
    """Measure for each name the axis, or what covers every input; None if neither was found."""
    found: dict[str | None, Axis | Covered | None] = dict.fromkeys(names)
    open_names = list(found)
    for probe in growing_probes(probe_at, axis, fixed):
        before = dict(found)
        length = probe.x.shape[-1 - axis]
        for n, name in enumerate(open_names):
            on_step(f"{name or 'the output'} on {length} pixels, {n + 1} of {len(open_names)}")
            found[name] = _look(probe, probe.target_of(name), axis)
        # What covers a small input may still be bounded, and what is seen on one may be more.
        certain = length >= CERTAIN
        open_names = [
            name
            for name in open_names
            if not (found[name] == before[name] is not None)
            and not (certain and isinstance(found[name], Covered))
        ]
        if not open_names:
            break
    if fixed is None:
        found |= {name: None for name in open_names if isinstance(found[name], Axis)}
    return found


def growing_probes(probe_at: ProbeFactory, axis: int, fixed: Size | None) -> Iterator[Probe]:
    """Make probes on longer and longer strips, or on squares if the model takes no strips.

    Raises:
        ModelError: the model runs on none of the sizes; the first failure.
    """
    failure: ModelError | None = None
    ran = False
    for length in SIZES if fixed is None else (0,):
        strip = (length, SIZES[0]) if axis == 0 else (SIZES[0], length)
        square = [(length, length)] if length <= LARGEST_SQUARE else []
        for size in (strip, *square) if fixed is None else (fixed,):
            try:
                probe = probe_at(size)
            except ModelError as error:
                failure = failure or error
            else:
                ran = True
                yield probe
                break
    if failure is not None and not ran:
        raise failure


def _look(probe: Probe, target: Target, axis: int) -> Axis | Covered | None:
    """Measure the axis on this input; None if the field does not fit in it.

    Neighbours are looked at from the middle on, and then backwards if the border comes too soon.
    """
    length = target.shape[-1 - axis]
    guess = _guess_period(target.end, axis, length)
    start = max(0, length // 2 - guess)
    most = max(4 * guess + 8, MOST_NEIGHBOURS)
    extents: list[tuple[int, int]] = []
    for indices in (range(start, length), range(start - 1, -1, -1)):
        if indices.step < 0 and not extents:
            return None
        for i in indices:
            if len(extents) == most:
                return None
            extent = _extent(probe, target, axis, i)
            if isinstance(extent, Covered):
                return extent
            if extent is None:
                break
            extents.insert(len(extents) if i >= start else 0, extent)
            period = _period(extents)
            if period is not None and len(extents) > max(
                3 * period, guess, min(NEIGHBOURS, length // 4)
            ):
                if not _shows_windows(target.end, axis):
                    return None
                shift = extents[period][0] - extents[0][0]
                return axis_of(extents[:period], min(i, start), shift)
    return None


def _extent(probe: Probe, target: Target, axis: int, i: int) -> tuple[int, int] | Covered | None:
    """Find the first and the last place of the input that matter to one place in the middle.

    Returns:
        None if the field is empty, or reaches the border.
    """
    across = target.shape[-2 + axis] // 2
    field = probe.structural(*((i, across) if axis == 0 else (across, i)), target)
    places = np.asarray(field.mask.any(axis=axis))
    if places.all() and field.through not in WINDOWED:
        return Covered(field.through or UNNAMED)
    ends = np.flatnonzero(places)
    if not len(ends) or ends[0] == 0 or ends[-1] == len(places) - 1:
        return None
    return int(ends[0]), int(ends[-1])


def _shows_windows(end: End, axis: int) -> bool:
    """True if all elements of every window lie in its map, seen from the middle.

    Dilation sets the elements apart, and those that lie in the padding leave no trace.
    """
    for node in nodes_of(end):
        form: Any = node
        if kind_of(node) == "Convolution":
            kernel = tuple(form._saved_weight.shape)
        elif kind_of(node) == "MaxPool2DWithIndices":
            kernel = form._saved_kernel_size
        else:
            continue
        # A convolution of one axis alone is asked about that one.
        along = max(-1 - axis, -len(form._saved_dilation))
        stride = (form._saved_stride or kernel)[along]
        span = form._saved_dilation[along] * (kernel[along] - 1)
        (shape,) = shapes_of(node)[:1]
        if 2 * span >= shape[along] * stride:
            return False
    return True


def _guess_period(end: End, axis: int, length: int) -> int:
    """Estimate how many output pixels share one place of the coarsest map on the way."""
    sides = [
        shape[-1 - axis]
        for node in nodes_of(end)
        if kind_of(node) in WINDOWED  # a slice, as circular padding makes, is no coarse map
        for shape in (tuple(meta.shape) for meta in node._input_metadata)
        if len(shape) == 4
    ]
    return max(1, round(length / min(sides, default=length)))


def _period(extents: Sequence[tuple[int, int]]) -> int | None:
    """Find the least period after which every extent returns, moved by the same distance."""
    for period in range(1, len(extents) // 2 + 1):
        moves = {
            (later[0] - now[0], later[1] - now[1])
            for now, later in zip(extents, extents[period:], strict=False)
        }
        if len(moves) == 1:
            ((first, last),) = moves
            if first == last > 0:
                return period
    return None
