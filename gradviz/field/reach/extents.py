"""The extents of a tensor's elements along one axis of the image.

A network of windows computes an element from a range of columns times a range of rows, so columns
and rows are followed apart, and a map of any size costs no more than its sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

Names = NDArray[np.uint64]
Places = NDArray[np.int64]

NOWHERE = 1 << 40
"""The first place of what was computed from nothing; its last place is minus that."""

MOST_ELEMENTS = 1 << 23
"""The most elements of one array; a map whose axes are mixed up has more if it is large."""


class Untold(Exception):
    """It is not known what an operation computes its result from; the message says why."""


class NotRun(Untold):
    """The model does not run on an input of this size."""


@dataclass(frozen=True, eq=False)
class Extents:
    """The first and last place of the image behind each element of a tensor, along one axis.

    The arrays have the tensor's axes, of length 1 where all elements are alike.
    """

    low: Places
    """The first column (or row) of the image."""
    high: Places
    """The last one."""
    name: Names
    """A hash of how it was computed: the operations, their numbers, and which of their elements it
    took, down to the columns of the image."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis; 1 where all elements are alike."""
        return self.name.shape

    def each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Extents:
        """Rearrange all three arrays."""
        return Extents(change(self.low), change(self.high), change(self.name))

    def salted(self, *keys: Any) -> Extents:
        """The same places, named after an operation too."""
        return Extents(self.low, self.high, mixed(self.name, np.uint64(key_of(*keys))))

    def numbered(self, axis: int, size: int) -> Extents:
        """The same places, named after their position along an axis too."""
        shape = [1] * len(self.shape)
        shape[axis] = size
        names = mixed(self.name, numbers(size).reshape(shape))
        low, high = (np.broadcast_to(array, names.shape) for array in (self.low, self.high))
        return Extents(low, high, names)

    def opened(self, axis: int, size: int) -> Extents:
        """With every element of an axis on its own."""
        if self.shape[axis] == size:
            return self
        shape = list(self.shape)
        shape[axis] = size
        check_elements(shape)
        return self.each(lambda array: np.broadcast_to(array, shape))

    def gathered(self, axis: int, taps: Taps) -> Extents:
        """Return the extents of results of several elements along an axis that is open."""
        check_elements([*self.shape, taps.index.shape[1]])
        low, high, name = (
            np.concatenate([array, np.full_like(array.take([0], axis), outside)], axis).take(
                taps.index, axis
            )
            for array, outside in (
                (self.low, NOWHERE),
                (self.high, -NOWHERE),
                (self.name, OUTSIDE),
            )
        )
        axis %= len(self.shape)
        weights = taps.weights.reshape(*taps.weights.shape, *[1] * (len(self.shape) - axis - 1))
        return Extents(
            low.min(axis + 1), high.max(axis + 1), (name * weights).sum(axis + 1, np.uint64)
        )

    def reduced(self, axis: int) -> Extents:
        """Return the extents of results of all elements along an axis; those alike count once."""
        size = self.shape[axis]
        if size == 1:
            return self
        shape = [1] * len(self.shape)
        shape[axis] = size
        weights = numbers(size).reshape(shape)
        return Extents(
            self.low.min(axis, keepdims=True),
            self.high.max(axis, keepdims=True),
            (self.name * weights).sum(axis, np.uint64, keepdims=True),
        )

    def compact(self) -> Extents:
        """With axes along which all elements are alike at length 1."""
        found = self
        for axis, size in enumerate(self.shape):
            first = found.each(partial(np.take, indices=[0], axis=axis))
            pairs = zip(first.arrays, found.arrays, strict=True)
            if size > 1 and all((one == every).all() for one, every in pairs):
                found = first
        return found

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """`low`, `high` and `name`."""
        return self.low, self.high, self.name


@dataclass(frozen=True, eq=False)
class Taps:
    """The elements along an axis behind each element of a result."""

    index: NDArray[np.intp]
    """[results, taps]; -1 for one outside."""
    weights: Names
    """[taps] or [results, taps]: a hash of the coefficient of each."""


def mixed(names: Names, key: Names | np.uint64) -> Names:
    """Hash names and a key together (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        found = (names ^ key) * np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed_: Names = found ^ (found >> np.uint64(31))
    return mixed_


def key_of(*parts: Any) -> int:
    """Hash whatever `repr` tells apart."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


OUTSIDE = key_of("outside")


@lru_cache(64)
def numbers(count: int, start: int = 0) -> Names:
    """Odd hashes of the whole numbers from `start` on."""
    names = mixed(
        np.arange(start, start + count, dtype=np.int64).view(np.uint64), np.uint64(key_of("number"))
    )
    found: Names = names | np.uint64(1)
    found.flags.writeable = False
    return found


def added(extents: Sequence[Extents]) -> Extents:
    """Return the extents of results, element by element, of tensors that are broadcast."""
    low, high, name = extents[0].arrays
    for n, other in enumerate(extents[1:]):
        low, high = np.minimum(low, other.low), np.maximum(high, other.high)
        name = mixed(name, np.uint64(key_of("beside", n))) + other.name
    check_elements(name.shape)
    return Extents(np.broadcast_to(low, name.shape), np.broadcast_to(high, name.shape), name)


def check_elements(shape: Sequence[int]) -> None:
    """Check that an array of this shape is not too large.

    Raises:
        Untold: it is.
    """
    count = 1
    for size in shape:
        count *= size
    if count > MOST_ELEMENTS:
        raise Untold("a map whose columns and rows are mixed up, or a window, is too large")
