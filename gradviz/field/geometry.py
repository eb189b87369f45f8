"""The geometry of receptive fields: size, stride, padding and halo, measured and not calculated.

Both axes are measured on a strip of input that is long in one of them, at neighbouring output
pixels in its middle. Upsampling makes neighbours differ, but only up to a period: after it the
field has the same shape again, moved by whole input pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from gradviz.arrays import Size
from gradviz.backward.graph import End, kind_of, nodes_of, shape_of, shapes_of
from gradviz.errors import ModelError
from gradviz.field.probe import Probe, ProbeFactory

SIZES = (64, 128, 224, 256, 512, 1024, 2048)
"""The input sizes that are tried, up to the first on which the field is free of the border."""

LARGEST_SQUARE = 512
"""The largest square tried for models that reject strips; bounded by memory."""

CERTAIN = 1024
"""The length of an input such that a field covering it counts as global."""

MOST_NEIGHBOURS = 72
"""The least number of output pixels that are measured before the search for a period ends."""

UNNAMED = "an operation along one axis"
"""The name of the operation that makes a field global along one axis only."""


@dataclass(frozen=True)
class Axis:
    """The unclipped field along one axis, of all output pixels of one period.

    Output pixel `i` reaches from `first[k] + n * shift` to `last[k] + n * shift`, both inclusive,
    where `i = n * len(first) + k`. Border effects are left out, so edges may be negative.
    """

    first: tuple[int, ...]
    """The first input pixel that matters to output pixels 0, 1, … of the period."""
    last: tuple[int, ...]
    """The last input pixel that matters to each."""
    shift: int
    """The input pixels by which the field moves in one period."""

    @property
    def size(self) -> int:
        """The largest extent over the period, in input pixels."""
        return max(last - first + 1 for first, last in zip(self.first, self.last, strict=True))

    @property
    def stride(self) -> Fraction:
        """The number of input pixels per output pixel."""
        return Fraction(self.shift, len(self.first))

    @property
    def padding(self) -> int:
        """The most input pixels by which the field of a first output pixel crosses the border."""
        return max(ceil(k * self.stride - first) for k, first in enumerate(self.first))

    @property
    def centre(self) -> float:
        """The middle of output pixel 0's field, as the mean over the period.

        Pixel i covers [i, i + 1).
        """
        middles = (
            Fraction(first + last + 1, 2) - k * self.stride
            for k, (first, last) in enumerate(zip(self.first, self.last, strict=True))
        )
        return float(sum(middles, Fraction()) / len(self.first))

    @property
    def halo(self) -> tuple[int, int]:
        """The numbers of input pixels that a tile needs before and behind those that it covers."""
        ends = (ceil(last + 1 - (k + 1) * self.stride) for k, last in enumerate(self.last))
        return max(0, self.padding), max(0, *ends)

    def extent(self, i: int) -> tuple[int, int]:
        """Return the first and the last input pixel of output pixel `i`, ignoring the border."""
        n, k = divmod(i, len(self.first))
        return self.first[k] + n * self.shift, self.last[k] + n * self.shift


@dataclass(frozen=True)
class Geometry:
    """The unclipped field of a network, or of one of its layers."""

    x: Axis | None
    """The horizontal axis; None if no input was large enough to hold the field."""
    y: Axis | None
    through: str | None
    """The operation that makes the field global, on one axis or both, if one does."""

    def as_dict(self) -> dict[str, Any]:
        """Describe the geometry in JSON-ready values.

        `size`, `stride`, `padding`, `centre` and `period` are [x, y], `halo` is [left, top, right,
        bottom]. If an axis is global its numbers are null; if both are, each value is null. The
        period is in input pixels: moved by it, the field has the same shape again. Tiles of the
        input are cut at its multiples.
        """
        names = ("size", "stride", "padding", "centre", "halo", "period")
        if self.x is None and self.y is None:
            return {**dict.fromkeys(names), "global_through": self.through}
        axes = (self.x, self.y)
        (left, right), (top, bottom) = (axis.halo if axis else (None, None) for axis in axes)
        return {
            "size": [axis and axis.size for axis in axes],
            "stride": [axis and _number(axis.stride) for axis in axes],
            "padding": [axis and axis.padding for axis in axes],
            "centre": [axis and axis.centre for axis in axes],
            "halo": [left, top, right, bottom],
            "period": [axis and axis.shift for axis in axes],
            "global_through": self.through,
        }


def _number(stride: Fraction) -> int | float:
    return int(stride) if stride.denominator == 1 else float(stride)


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
"""Operations with a bounded reach: if they cover a map, a larger map would show the edge."""


def measure_geometries(
    probe_at: ProbeFactory, names: Sequence[str | None], fixed: Size | None = None
) -> list[Geometry]:
    """Measure the geometry of the output (None) and of layers by name, in the order given.

    Args:
        probe_at: makes a probe on random input of a size.
        names: the layers; None for the output.
        fixed: the only input size that is tried; None to grow strips until the fields fit.

    Raises:
        ModelError: the model runs on none of the sizes.
    """
    x, y = (_measure_axis(probe_at, axis, names, fixed) for axis in (0, 1))
    return [_together(*axes) for axes in zip(x, y, strict=True)]


def _together(x: Axis | Covered | None, y: Axis | Covered | None) -> Geometry:
    return Geometry(
        x if isinstance(x, Axis) else None,
        y if isinstance(y, Axis) else None,
        next((axis.through for axis in (x, y) if isinstance(axis, Covered)), None),
    )


@dataclass(frozen=True)
class Covered:
    """A field that reaches from one end of the input to the other."""

    through: str
    """The operation that covers the input."""


def _measure_axis(
    probe_at: ProbeFactory, axis: int, names: Sequence[str | None], fixed: Size | None
) -> list[Axis | Covered | None]:
    """Measure for each name the axis, or the operation that covers it; None if neither is found."""
    found: dict[str | None, Axis | Covered | None] = dict.fromkeys(names)
    open_names = list(found)
    for probe in growing_probes(probe_at, axis, fixed):
        for name in open_names:
            found[name] = _look(probe, probe.end_of(name), axis)
        # An operation that covers a small input may still be bounded.
        settled = Axis | Covered if probe.x.shape[-1 - axis] >= CERTAIN else Axis
        open_names = [name for name in open_names if not isinstance(found[name], settled)]
        if not open_names:
            break
    return [found[name] for name in names]


def growing_probes(probe_at: ProbeFactory, axis: int, fixed: Size | None) -> Iterator[Probe]:
    """Make probes on longer and longer strips, or on squares if the model takes no strips.

    Args:
        probe_at: makes a probe on random input of a size.
        axis: 0 for strips along the width, 1 along the height.
        fixed: the only input size that is tried; None for all.

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


def _look(probe: Probe, end: End, axis: int) -> Axis | Covered | None:
    """Measure the axis on this input; None if the field does not fit in it."""
    *_, height, width = shape_of(end)
    length, across = (width, height // 2) if axis == 0 else (height, width // 2)
    guess = _guess_period(end, axis, length)
    start = max(0, length // 2 - guess)
    extents: list[tuple[int, int]] = []
    for i in range(start, min(length, start + max(4 * guess + 8, MOST_NEIGHBOURS))):
        field = probe.structural(*((i, across) if axis == 0 else (across, i)), end)
        places = np.asarray(field.mask.any(axis=axis))
        if places.all() and field.through not in WINDOWED:
            return Covered(field.through or UNNAMED)
        ends = np.flatnonzero(places)
        if not len(ends) or ends[0] == 0 or ends[-1] == len(places) - 1:
            return None
        extents.append((int(ends[0]), int(ends[-1])))
        period = _period(extents)
        if period is not None and len(extents) > max(2 * period, guess):
            return _axis(extents, start, period) if _shows_windows(end, axis) else None
    return None


def _shows_windows(end: End, axis: int) -> bool:
    """Return True if all elements of every window lie in its map, seen from the middle.

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
        # For a convolution of one axis alone, only that axis is checked.
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
        if kind_of(node) in WINDOWED  # a slice, as circular padding makes, is not a coarse map
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


def _axis(extents: Sequence[tuple[int, int]], start: int, period: int) -> Axis:
    shift = extents[period][0] - extents[0][0]
    first, last = [0] * period, [0] * period
    for i, extent in enumerate(extents[:period], start):
        n, k = divmod(i, period)
        first[k], last[k] = extent[0] - n * shift, extent[1] - n * shift
    return Axis(tuple(first), tuple(last), shift)
