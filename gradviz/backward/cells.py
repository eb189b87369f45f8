"""Follows which cell of the image each element of a tensor stands for.

A convolution makes a map, whose elements lie on a grid over the image. Operations behind it may
flatten the map into tokens, put other tokens before them, cut them into windows and move them
about. Beside each tensor an index tensor goes along, and everything that moves elements is done to
both. So the cell of a token is derived from the pass itself, and not from the name of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

NO_CELL = -1
"""The index of an element that stands for no cell, such as a class token."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells that the elements of one tensor stand for."""

    grid: tuple[int, int, int]
    """The number of images, and the height and width of the grid over each of them."""
    index: Tensor
    """Integers of the tensor's shape, on the CPU: (n · height + y) · width + x, or `NO_CELL`. An
    axis along which nothing changes has stride 0."""

    def with_index(self, index: Tensor) -> Cells:
        """Give the elements another index."""
        return Cells(self.grid, index)

    @property
    def size(self) -> int:
        """The number of cells."""
        images, height, width = self.grid
        return images * height * width


MOST_CELLS = 1 << 22
"""The most cells that are followed: beyond, a pass without numbers would need memory for them."""


def on_grid(shape: Sequence[int]) -> Cells | None:
    """Make the cells of a map [N, C, h, w]: each element stands for its own cell.

    Returns:
        None if there are more than `MOST_CELLS`.
    """
    images, _, height, width = shape
    if images * height * width > MOST_CELLS:
        return None
    return Cells((images, height, width), _grid(images, height, width).expand(tuple(shape)))


@lru_cache(maxsize=8)  # a network has few sizes, and many maps
def _grid(images: int, height: int, width: int) -> Tensor:
    return torch.arange(images * height * width).view(images, 1, height, width)


def is_map(cells: Cells) -> bool:
    """Return True if a tensor is a map [N, C, h, w], or a padded, cropped or sparser part of one.

    Its columns and rows are columns and rows of the grid, in their order.
    """
    index = cells.index
    if index.dim() != 4 or not index.numel() or (index.stride(1) and index.shape[1] > 1):
        return False
    if index.data_ptr() == _grid(*cells.grid).data_ptr() and index.shape[2:] == cells.grid[1:]:
        return True
    index = index[:, 0]
    there = index >= 0
    columns, rows = there.flatten(0, 1).any(0), there.any(2).any(0)
    index = index[:, rows][:, :, columns]
    if not index.numel() or bool((index < 0).any()):
        return False
    _, height, width = cells.grid
    image, y, x = index // (height * width), index // width % height, index % width
    grid = image[:, :1, :1], y[:1, :, :1], x[:1, :1, :]
    alike = all(bool((all_ == one).all()) for all_, one in zip((image, y, x), grid, strict=True))
    return alike and all(bool((line.flatten().diff() > 0).all()) for line in grid[1:])


def lies_once(cells: Cells) -> bool:
    """Return True if each cell of the grid has one place in a tensor, beside its channels."""
    index = cells.index
    for axis in range(index.dim()):
        if index.stride(axis) == 0 and index.shape[axis]:
            index = index.narrow(axis, 0, 1)
    there = index[index >= 0]
    return len(there) == cells.size == len(torch.unique(there))


def first_line(index: Tensor, axis: int) -> Tensor | None:
    """Return the first slice along an axis along which nothing changes."""
    return None if index.stride(axis) or not index.shape[axis] else index.narrow(axis, 0, 1)


def coarser(cells: Cells, lines: Tensor) -> Cells | None:
    """Find the cell of each line of elements that are added up.

    Args:
        cells: the cells of the elements.
        lines: [..., k], the elements that are added up in the last axis.

    Returns:
        the cells [...]; None if a line is neither of one cell, beside elements without one, nor
        within a block that no other line reaches into.
    """
    shape = lines.shape[:-1]
    for axis, step in enumerate(lines.stride()):
        if step == 0 and lines.shape[axis]:
            lines = lines.narrow(axis, 0, 1)
    first = lines[..., 0]
    if not lines.numel() or (bool((first < 0).all()) and bool((lines < 0).all())):
        return None
    if bool((lines == first[..., None]).all()):
        return cells.with_index(first.expand(shape))
    nowhere = lines < 0
    if bool(nowhere.any()):
        largest = lines.amax(-1)
        alone = bool((nowhere | (lines == largest[..., None])).all())
        return cells.with_index(largest.expand(shape)) if alone else None
    images, height, width = cells.grid
    image, y, x = lines // (height * width), lines // width % height, lines % width
    (top, tall), (left, wide), (_, one) = (
        (each.amin(-1), each.amax(-1) - each.amin(-1) + 1) for each in (y, x, image)
    )
    a, b = int(tall.flatten()[0]), int(wide.flatten()[0])
    alike = bool((tall == a).all()) and bool((wide == b).all()) and bool((one == 1).all())
    aligned = not bool((top % a).any()) and not bool((left % b).any())
    if not (alike and aligned) or height % a or width % b:
        return None
    grid = images, height // a, width // b
    index = (image[..., 0] * grid[1] + top // a) * grid[2] + left // b
    return Cells(grid, index.expand(shape))


def thin(index: Tensor) -> Tensor:
    """Give stride 0 to axes along which nothing changes, so that they cost nothing."""
    for axis in range(index.dim()):
        if index.shape[axis] > 1 and index.stride(axis):
            first = index.narrow(axis, 0, 1)
            if bool((index == first).all()):
                index = first.expand(index.shape)
    return index


def same(one: Cells, two: Cells) -> bool:
    """Return True if the elements of two tensors stand for the same cells."""
    return one.grid == two.grid and same_index(one.index, two.index)


def same_index(one: Tensor, two: Tensor) -> bool:
    """Return True if two index tensors are equal."""
    if one.shape != two.shape:
        return False
    for axis in range(one.dim()):
        if one.stride(axis) == 0 and two.stride(axis) == 0 and one.shape[axis]:
            one, two = one.narrow(axis, 0, 1), two.narrow(axis, 0, 1)
    return bool(torch.equal(one, two))
