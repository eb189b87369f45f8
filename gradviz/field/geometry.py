"""The geometry of receptive fields: size, stride, padding and halo, measured and not calculated.

Both axes are followed forwards through a pass without numbers, on inputs so long that a field in
the middle shows as a whole, and each claim is held against a longer one. What cannot be followed is
measured on strips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from gradviz.arrays import Size
from gradviz.field.axis import Axis, axis_of
from gradviz.field.probe import Probe, ProbeFactory, Target, probes_without_numbers
from gradviz.field.reach.call import Reach
from gradviz.field.reach.extents import NotRun, Untold
from gradviz.field.reach.follow import Followed, follow, follow_layers
from gradviz.field.strips import SIZES, Covered, growing_probes, measure_axis
from gradviz.model.model import Model

LONG = (1344, 5376, 21504, 86016)
"""Lengths on which fields are followed without numbers, until two of them agree. All are whole
multiples of 64, 24 and 56, which models divide their inputs by."""


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
            "centre": [axis and float(axis.centre) for axis in axes],
            "halo": [left, top, right, bottom],
            "period": [axis and axis.shift for axis in axes],
            "global_through": self.through,
        }


def _number(stride: Fraction) -> int | float:
    return int(stride) if stride.denominator == 1 else float(stride)


def measure_geometries(
    probe_at: ProbeFactory,
    names: Sequence[str | None],
    fixed: Size | None = None,
    small: Probe | None = None,
    on_step: Callable[[str], object] = lambda step: None,
) -> list[Geometry]:
    """Measure the geometry of the output (None) and of layers by name, in the order given.

    Args:
        probe_at: makes a probe on random input of a size.
        names: the layers; None for the output.
        fixed: the only input size that is tried; None to grow strips until the fields fit.
        small: a pass with numbers on small input; None to make one.
        on_step: receives the layer that is measured now, in words.

    Raises:
        ModelError: the model runs on none of the sizes.
    """
    small = small or next(growing_probes(probe_at, 0, fixed))
    follows = _follows(small)
    axes = []
    for axis in (0, 1):
        on_step(f"the geometry along {'xy'[axis]}")
        found = follow_axis(small.model, small.x.shape[1], axis, names) if follows else {}
        rest = [name for name in names if name not in found]
        if rest:
            factory = probes_without_numbers(small) or probe_at
            found |= measure_axis(factory, axis, rest, fixed, on_step)
        axes.append(found)
    return [_together(*(found[name] for found in axes)) for name in names]


def _follows(small: Probe) -> bool:
    """True if following finds the box that a pass with numbers finds, and finds exactly."""
    width, height = small.x.shape[-1], small.x.shape[-2]
    if small.selections or len(small.shape) not in (3, 4) or small.model.for_layers:
        return False
    try:
        followed = follow(small.model, small.x.shape[1], (width, height))
    except Untold:
        return False
    shape, reach = followed[None]
    field = small.structural(shape[-1] // 2, shape[-2] // 2, Target(small.output))
    ends = [reach.ends(shape, axis) for axis in (0, 1)]
    (x0, y0), (x1, y1) = (
        tuple(-1 if each is None else int(each[n][len(each[n]) // 2]) for each in ends)
        for n in (0, 1)
    )
    return not field.lost_at and field.box == (x0, y0, x1 + 1, y1 + 1)


def follow_axis(
    model: Model, channels: int, axis: int, names: Sequence[str | None]
) -> dict[str | None, Axis | Covered | None]:
    """Follow one axis of the output and of layers on longer and longer inputs.

    A field is believed if two inputs agree on it; if none do, there is no bounded field (None).
    What cannot be followed, or covers every input, is left out.
    """
    agreed: dict[str | None, Axis | Covered | None] = {}
    before: dict[str | None, Axis | str | None] = {}
    watched = follow_layers if any(names) else follow  # following layers takes half as long again
    for length in LONG:
        followed = _followed(partial(watched, model, channels), axis, length)
        now = {name: field_in(followed[name], axis, length) for name in names if name in followed}
        agreed |= {
            name: found
            for name, found in now.items()
            if isinstance(found, Axis) and found == before.get(name)
        }
        left = now.keys() - agreed.keys()
        if all(now[name] == before.get(name) == COVERED for name in left):
            return agreed
        before = now
    return dict.fromkeys(name for name in left if now[name] is None) | agreed


def bounded_axis(model: Model, channels: int, axis: int) -> Axis | None:
    """Follow one axis of the output; None if its field is not known, or not bounded."""
    found = follow_axis(model, channels, axis, [None]).get(None)
    return found if isinstance(found, Axis) else None


COVERED = "covered"


def _followed(run: Callable[[tuple[int, int]], Followed], axis: int, length: int) -> Followed:
    """Follow a pass on a strip, or on a square if the model takes no strips."""
    strip = (length, SIZES[0]) if axis == 0 else (SIZES[0], length)
    for size in (strip, (length, length)):
        try:
            return run(size)
        except NotRun:
            continue
        except Untold:  # a square costs far more, and its operations are the same
            break
    return {}


def field_in(followed: tuple[tuple[int, ...], Reach], axis: int, length: int) -> Axis | str | None:
    """The field in the middle third of an output, which must leave most of the input free.

    Args:
        followed: the output's shape, and what it was computed from.
        axis: 0 along the width, 1 along the height.
        length: of the input.

    Returns:
        None if it is larger, or has no period; COVERED if it is the whole input.
    """
    shape, reach = followed
    ends = reach.ends(shape, axis)
    if ends is None:
        return COVERED
    low, high = (each[len(each) // 3 : len(each) - len(each) // 3] for each in ends)
    if (low == 0).all() and (high == length - 1).all():
        return COVERED
    if (high < low).any() or (high - low).max() > length // 3:
        return None
    for period in range(1, len(low) // 3 + 1):
        shift = low[period] - low[0]
        if shift > 0 and all((e[period:] - e[:-period] == shift).all() for e in (low, high)):
            pairs = list(zip(low[:period].tolist(), high[:period].tolist(), strict=True))
            return axis_of(pairs, len(ends[0]) // 3, int(shift))
    return None


def _together(x: Axis | Covered | None, y: Axis | Covered | None) -> Geometry:
    return Geometry(
        x if isinstance(x, Axis) else None,
        y if isinstance(y, Axis) else None,
        next((axis.through for axis in (x, y) if isinstance(axis, Covered)), None),
    )
