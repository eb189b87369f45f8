"""The unclipped field along one axis of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil


@dataclass(frozen=True)
class Axis:
    """The unclipped field along one axis, of all output pixels of one period.

    Output pixel `i` reaches from `first[k] + n * shift` to `last[k] + n * shift`, both inclusive,
    where `i = n * len(first) + k`. Border effects are left out, so edges may be negative.
    """

    first: tuple[int, ...]
    """The first input pixel that matters to output pixels 0, 1, … of the period."""
    last: tuple[int, ...]
    """The last one."""
    shift: int
    """The input pixels by which the field moves in one period."""

    @property
    def size(self) -> int:
        """The largest extent over the period, in input pixels."""
        return max(last - first + 1 for first, last in zip(self.first, self.last, strict=True))

    @property
    def stride(self) -> Fraction:
        """Input pixels per output pixel."""
        return Fraction(self.shift, len(self.first))

    @property
    def padding(self) -> int:
        """The most input pixels by which the field of a first output pixel crosses the border."""
        return max(ceil(k * self.stride - first) for k, first in enumerate(self.first))

    @property
    def centre(self) -> Fraction:
        """The middle of output pixel 0's field, as the mean over the period.

        Pixel i covers [i, i + 1).
        """
        middles = (
            Fraction(first + last + 1, 2) - k * self.stride
            for k, (first, last) in enumerate(zip(self.first, self.last, strict=True))
        )
        return sum(middles, Fraction()) / len(self.first)

    @property
    def halo(self) -> tuple[int, int]:
        """The input pixels that a tile needs before and behind those that it covers."""
        ends = (ceil(last + 1 - (k + 1) * self.stride) for k, last in enumerate(self.last))
        return max(0, self.padding), max(0, *ends)

    def extent(self, i: int) -> tuple[int, int]:
        """The first and the last input pixel of output pixel `i`, as if there were no border."""
        n, k = divmod(i, len(self.first))
        return self.first[k] + n * self.shift, self.last[k] + n * self.shift

    def within(self, length: int, i: int) -> int:
        """The number of pixels that output pixel `i` reaches in an input of a length."""
        first, last = self.extent(i)
        return max(0, min(last + 1, length) - max(first, 0))


def axis_of(extents: Sequence[tuple[int, int]], start: int, shift: int) -> Axis:
    """The axis by the extents of one period, the first of which is that of output `start`."""
    period = len(extents)
    first, last = [0] * period, [0] * period
    for i, extent in enumerate(extents, start):
        n, k = divmod(i, period)
        first[k], last[k] = extent[0] - n * shift, extent[1] - n * shift
    return Axis(tuple(first), tuple(last), shift)
