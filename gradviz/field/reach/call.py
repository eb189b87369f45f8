"""One call of an operator, and what its arguments were computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from gradviz.field.reach.arguments import Shape
from gradviz.field.reach.extents import Extents, Places, Taps, Untold, added, key_of, numbers
from gradviz.watch import tensors_in


@dataclass(frozen=True)
class Constant:
    """The name of all that does not depend on the image."""

    key: int
    """A hash of its numbers, or of how they are computed."""
    uniform: bool = False
    """True if all elements are the same number."""


@dataclass(frozen=True, eq=False)
class Reach:
    """The sources of each element of a tensor."""

    x: Extents
    """The columns of the image."""
    y: Extents
    """The rows."""

    @property
    def axes(self) -> tuple[Extents, Extents]:
        """`x` and `y`."""
        return self.x, self.y

    def each(self, change: Callable[[Extents], Extents]) -> Reach:
        """Change both axes of the image in the same way."""
        return Reach(change(self.x), change(self.y))

    def salted(self, *keys: Any) -> Reach:
        """The same, named after an operation too."""
        return self.each(lambda extents: extents.salted(*keys))

    def is_open(self, axis: int) -> bool:
        """True if the elements along an axis of the tensor have reaches of their own."""
        return self.x.shape[axis] > 1 or self.y.shape[axis] > 1

    def owned(self, axis: int, change: Callable[[Extents], Extents]) -> Reach:
        """Change the axis of the image that lies along an axis of the tensor.

        The last axis is that of columns.
        """
        if axis % len(self.x.shape) == len(self.x.shape) - 1:
            return replace(self, x=change(self.x))
        return replace(self, y=change(self.y))

    def opened(self, axis: int, size: int) -> Reach:
        """With the elements along an axis told apart."""
        if size == 1 or self.is_open(axis):
            return self
        return self.owned(axis, lambda extents: extents.opened(axis, size))

    def gathered(self, axis: int, size: int, taps: Taps) -> Reach:
        """Return the reach of results of several elements along an axis of this size."""
        if size == 1:
            return self.owned(axis, lambda extents: extents.gathered(axis, taps))
        return self.opened(axis, size).each(
            lambda extents: extents.gathered(axis, taps) if extents.shape[axis] > 1 else extents
        )

    def taken(self, axis: int, index: Any) -> Reach:
        """Some of the elements along an axis."""

        def take(extents: Extents) -> Extents:
            if extents.shape[axis] == 1:
                return extents
            return extents.each(lambda array: array.take(index, axis))

        return self.each(take)

    def reduced(self, axes: Sequence[int], sizes: Shape) -> Reach:
        """Return the reach of results of all elements along some axes of a tensor."""
        found = self
        for axis in axes:
            if not found.is_open(axis):
                # Alike, but it matters how many they are.
                found = found.salted("of", sizes[axis])
            found = Reach(found.x.reduced(axis), found.y.reduced(axis))
        return found

    def reshaped(self, old: Shape, new: Shape) -> Reach:
        """The same elements, in order, under other axes."""
        x, y = self.x, self.y
        shapes: tuple[list[int], list[int]] = ([], [])
        for before, after in _groups(old, new):
            if len(before) == len(after) == 1:
                for made, extents in zip(shapes, (x, y), strict=True):
                    made.append(extents.shape[before[0]])
                continue
            open_in = [any(e.shape[axis] > 1 for axis in before) for e in (x, y)]
            nobody = [
                axis for axis in before if x.shape[axis] == y.shape[axis] == 1 and old[axis] > 1
            ]
            for number, is_open in enumerate(open_in):
                if not is_open:
                    shapes[number].extend([1] * len(after))
                    continue
                shapes[number].extend(new[axis] for axis in after)
                for axis in before:
                    change = Extents.numbered if axis in nobody else Extents.opened
                    if number == 0:
                        x = change(x, axis, old[axis])
                    else:
                        y = change(y, axis, old[axis])
        return Reach(*(_shaped(e, shape) for e, shape in zip((x, y), shapes, strict=True)))

    def ends(self, shape: Shape, axis: int) -> tuple[Places, Places] | None:
        """The first and the last place in the image of each output column (0) or row (1).

        Args:
            shape: of the output, a map [N, C, H, W] or [N, H, W].
            axis: 0 or 1.

        Returns:
            None if it is no map, or if columns and rows are mixed up.
        """
        if len(shape) not in (3, 4):
            return None
        extents, other = (self.x, -2) if axis == 0 else (self.y, -1)
        if extents.shape[other] > 1:
            extents = extents.compact()  # views may have told apart what is alike
        if extents.shape[other] > 1 or extents.shape[-1 - axis] != shape[-1 - axis]:
            return None
        rest = tuple(n for n in range(len(shape)) if n != len(shape) - 1 - axis)
        return extents.low.min(rest), extents.high.max(rest)


def _groups(old: Shape, new: Shape) -> Iterator[tuple[list[int], list[int]]]:
    """The least groups of neighbouring axes that have as many elements before as after."""
    if 0 in old:
        raise Untold("an empty tensor")
    i = j = 0
    while i < len(old) or j < len(new):
        before, after = list[int](), list[int]()
        there = here = 1
        while True:
            if i < len(old) and (not before or there < here):
                there *= old[i]
                before.append(i)
                i += 1
            elif j < len(new) and (not after or here < there):
                here *= new[j]
                after.append(j)
                j += 1
            else:
                break
        yield before, after


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an operator."""

    name: str
    """Without its namespace, and without the `_` of the form that writes in place."""
    given: dict[str, Any]
    """The arguments by name, defaults included."""
    shapes: tuple[Shape, ...]
    """The shapes of the tensors that it gives."""
    value_of: Callable[[Tensor], Reach | Constant]
    """Return the reach of a tensor; raises Untold."""

    @property
    def shape(self) -> Shape:
        """The shape of the first tensor that it gives."""
        return self.shapes[0]

    def reach(self, name: str) -> Reach:
        """Return the reach of an argument that depends on the image.

        Raises:
            Untold: it does not depend on the image.
        """
        value = self.value_of(self.given[name])
        if isinstance(value, Constant):
            raise Untold(f"{self.name} of a constant {name}")
        return value

    def key(self, *names: str) -> int:
        """A hash of the operator and of arguments that are constants.

        Raises:
            Untold: one of them depends on the image.
        """
        return key_of(self.name, *(self._key(name, self.given.get(name)) for name in names))

    def _key(self, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        found = self.value_of(value)
        if isinstance(found, Reach):
            raise Untold(f"{self.name} with a {name} that is computed from the image")
        return found.key

    def numbers_key(self) -> int:
        """A hash of the operator and of all its arguments that are no tensors."""
        return key_of(
            self.name,
            *(value for value in self.given.values() if next(tensors_in([value]), None) is None),
        )

    def beside(self, tensors: Sequence[Tensor], key: int, shape: Shape) -> Reach:
        """Return the reach of results, element by element, of tensors broadcast to a shape."""
        reaches, sized = [], list[Shape]()
        numbered: set[int] = set()
        for tensor in tensors:
            value = self.value_of(tensor)
            sizes = (1,) * (len(shape) - tensor.dim()) + tuple(tensor.shape)
            if isinstance(value, Constant):
                key = key_of(key, value.key)
                if not value.uniform:
                    numbered |= {axis for axis, size in enumerate(sizes) if size > 1}
            else:
                key = key_of(key, "image")
                longer = len(shape) - tensor.dim()
                reaches.append(Reach(*(_shaped(e, (1,) * longer + e.shape) for e in value.axes)))
                sized.append(sizes)
        if not reaches:
            raise Untold(f"{self.name} of constants")
        x, y = (added([getattr(reach, axis) for reach in reaches]) for axis in ("x", "y"))
        found = Reach(x, y).salted(key)
        for axis in sorted(numbered):
            # A constant tells places apart where the image does, or where it alone has several.
            if found.is_open(axis) or all(sizes[axis] == 1 for sizes in sized):
                found = _numbered(found, axis, shape[axis])
        return found


def _shaped(extents: Extents, shape: Sequence[int]) -> Extents:
    return extents.each(lambda array: array.reshape(shape))


def _numbered(reach: Reach, axis: int, size: int) -> Reach:
    if reach.x.shape[axis] > 1:
        return replace(reach, x=reach.x.numbered(axis, size))
    if reach.y.shape[axis] > 1:
        return replace(reach, y=reach.y.numbered(axis, size))
    return reach.owned(axis, lambda extents: extents.numbered(axis, size))


def image_reach(shape: Shape, start: tuple[int, int] = (0, 0)) -> Reach:
    """The reach of an image [N, C, H, W] itself.

    Args:
        shape: of the tensor.
        start: the column and the row of a larger image at which it begins.
    """
    height, width = shape[-2:]
    return Reach(
        _own(width, start[0], "x", (1, 1, 1, width)), _own(height, start[1], "y", (1, 1, height, 1))
    )


def _own(size: int, start: int, axis: str, shape: Shape) -> Extents:
    places = np.arange(size, dtype=np.int64).reshape(shape)
    return Extents(places, places, numbers(size, start).reshape(shape)).salted("image", axis)


Computes = Callable[[Call], Reach | list[Reach | None]]
"""From a call to the reach of its result, or of its results; None for what is not told."""
