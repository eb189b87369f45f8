"""Arrangements: which element of a layer's output lies where in the image.

A layer's output may be a map [N, C, H, W], a map with its channels last, tokens with or without
others before them, or windows. Its arrangement is derived by following the cell of each element
through the forward pass: see `cells.py` and `cell_rules.py`.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from gradviz.backward.cell_rules import OperatorCall, cells_after
from gradviz.backward.cells import NO_CELL, Cells, on_grid, same, thin
from gradviz.backward.graph import shape_of
from gradviz.layout import Layout
from gradviz.watch import Watch, arguments, storage_of, tensors_in, written


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The way to read a tensor of one shape as maps [N, C, h, w]."""

    shape: tuple[int, ...]
    """The shape of the tensor."""
    channels: tuple[int, ...]
    """The axes along which the channels lie."""
    grid: tuple[int, int, int]
    """N, h and w."""
    order: Tensor
    """int64 [N · h · w]: the position of each cell among the elements of the other axes."""

    @property
    def cells(self) -> int:
        """The number of cells over one image."""
        return self.grid[1] * self.grid[2]

    @property
    def map_shape(self) -> tuple[int, int, int, int]:
        """The shape [N, C, h, w] of the maps."""
        images, height, width = self.grid
        return images, prod(self.shape[axis] for axis in self.channels), height, width

    @property
    def plain(self) -> bool:
        """True if the tensor has the shape of its maps, and they lie in it as they are read."""
        return self.shape == self.map_shape and bool((self.order.diff() == 1).all())

    def same_as(self, other: Arrangement) -> bool:
        """Return True if both read a tensor in the same way."""
        alike = self.shape == other.shape and self.grid == other.grid
        return alike and self.channels == other.channels and torch.equal(self.order, other.order)

    @property
    def rows_last(self) -> bool:
        """True if rows and columns lie along the last two axes, as in a map."""
        axes = range(len(self.shape) - 2, len(self.shape))
        return not {*axes} & {*self.channels} and {*self.shape[-2:]} == {*self.grid[1:]}

    @property
    def _axes(self) -> list[int]:
        others = [axis for axis in range(len(self.shape)) if axis not in self.channels]
        return [*self.channels, *others]

    def as_maps(self, tensor: Tensor) -> Tensor:
        """Read a tensor of `shape` as maps [N, C, h, w]; what has no cell is left out."""
        images, channels, height, width = self.map_shape
        lines = tensor.permute(self._axes).reshape(channels, -1)
        maps = lines[:, self.order.to(tensor.device)].view(channels, images, height, width)
        return maps.transpose(0, 1)

    def from_maps(self, maps: Tensor) -> Tensor:
        """Put maps [N, C, h, w] into a tensor of `shape`, with zeros where there is no cell."""
        axes = self._axes
        shape = [self.shape[axis] for axis in axes]
        channels = self.map_shape[1]
        lines = maps.new_zeros(channels, prod(shape) // max(channels, 1))
        lines[:, self.order.to(maps.device)] = maps.transpose(0, 1).reshape(channels, -1)
        back = [axes.index(axis) for axis in range(len(axes))]
        return lines.view(shape).permute(back)


def arrangement_of(cells: Cells) -> Arrangement | None:
    """Make the arrangement of a tensor whose elements stand for these cells.

    Returns:
        None unless each cell of the grid is there exactly once, or each of every second row and
        column, or of every third, and so on.
    """
    index = cells.index
    channels = tuple(
        axis for axis in range(index.dim()) if index.shape[axis] > 1 and index.stride(axis) == 0
    )
    for axis in channels:
        index = index.narrow(axis, 0, 1)
    index = index.flatten()
    there = (index >= 0).nonzero().flatten()
    order = index[there].argsort()
    grid = _regular(index[there][order], cells.grid)
    if grid is None:
        return None
    return Arrangement(tuple(cells.index.shape), channels, grid, there[order])


def stated(layout: Layout, shape: Sequence[int], entered: Sequence[int]) -> Arrangement:
    """Make the arrangement that a layout states.

    Args:
        layout: the order of the axes.
        shape: the shape of the tensor.
        entered: the shape [N, C, H, W] of what entered the model.

    Raises:
        UsageError: the layout does not fit the shape, or fits it in two ways.
    """
    images, _, height, width = entered
    axes = layout.axes(shape, images)
    if layout.kind == "tokens":
        rows, columns = layout.grid(shape[axes[2]], height, width)
        places = torch.arange(images * rows * columns).view(images, rows * columns)
        leading = torch.full((images, layout.leading), NO_CELL)
        index = torch.cat([leading, places], 1)[:, None]
    else:
        rows, columns = (shape[axis] for axis in axes[2:])
        index = torch.arange(images * rows * columns).view(images, 1, rows, columns)
    back = [axes.index(axis) for axis in range(len(axes))]
    index = index.expand([shape[axis] for axis in axes]).permute(back)
    found = arrangement_of(Cells((images, rows, columns), index))
    assert found is not None
    return found


def _regular(index: Tensor, grid: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """Find the grid of some cells, in ascending order, that are spread evenly over a grid."""
    images, height, width = grid
    if not len(index):
        return None
    start = int(index[0]) // width % height
    rows = torch.unique(index // width % height)
    step = int(rows[1] - rows[0]) if len(rows) > 1 else height
    part = torch.arange(images * height * width).view(grid)[:, start::step, start::step]
    if start >= step or not torch.equal(index, part.flatten()):
        return None
    return images, part.shape[1], part.shape[2]


class CellFollower(Watch):  # type: ignore[no-untyped-call]
    """Follows the cells of all tensors through a forward pass.

    Args:
        x: the images [N, C, H, W] that enter.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self._made: dict[tuple[int, int], Cells | None] = {}
        self._writes: dict[int, int] = {}
        # Not an attribute of the tensor, which a model that pickles it would write too.
        self._notes: MutableMapping[Tensor, tuple[int, Cells | None]] = WeakTensorKeyDictionary()
        self._note(x, on_grid(x.shape))

    def cells_at(self, end: GradientEdge) -> Cells | None:
        """Find the cells of the tensor at a place in the graph; None if they are not known.

        The output of an operation that is written in Python has those of its input of its shape.
        """
        node, number, shape = end.node, end.output_nr, shape_of(end)
        while (node._sequence_nr(), number) not in self._made:
            before = [
                (each, n)
                for each, n in node.next_functions
                if each is not None and shape_of(GradientEdge(each, n)) == shape
            ]
            if len(before) != 1:
                return None
            ((node, number),) = before
        return self._made[node._sequence_nr(), number]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        made = list(tensors_in(result))
        given = arguments(func, args, kwargs)
        # Autograd has made the node already: it has the last number given out.
        node = torch.autograd._get_sequence_nr() - 1  # type: ignore[attr-defined]
        name = func._schema.name.partition("::")[2]

        def again(change: Any) -> Any:
            changed = tree_map_only(Tensor, change, (args, kwargs))
            return func(*changed[0], **changed[1])

        call = OperatorCall(
            name.rstrip("_") if func._schema.is_mutable else name,
            given,
            again,
            tuple(each.shape for each in made),
            self._cells_of,
        )
        with _disable_current_modes():
            try:
                cells = cells_after(call)
            except (RuntimeError, NotImplementedError, TypeError):
                # Such as a selection by numbers that a pass without numbers does not have.
                cells = [None] * len(made)
            if func._schema.is_mutable:
                self._write([*tensors_in(written(func, given))], cells[0] if cells else None)
            else:
                for tensor, each in zip(made, cells, strict=True):
                    self._note(tensor, each)
            if torch.is_grad_enabled() and any(each.requires_grad for each in tensors_in(given)):
                for n, each in enumerate(cells):  # what is saved for its backward pass comes later
                    self._made.setdefault((node, n), each)
        return result

    def _cells_of(self, tensor: Tensor) -> Cells | None:
        version, cells = self._notes.get(tensor, (None, None))
        return cells if version == self._version(tensor) else None

    def _note(self, tensor: Tensor, cells: Cells | None) -> None:
        self._notes[tensor] = self._version(tensor), cells

    def _write(self, targets: Sequence[Tensor], cells: Cells | None) -> None:
        """Note what tensors hold now, and what the whole holds of which one is a part.

        What else looks at their memory is not known any more.
        """
        for tensor in targets:
            before, whole = self._cells_of(tensor), tensor._base
            around = (
                None if whole is None or cells is None else self._with_part(whole, tensor, cells)
            )
            if before is None or cells is None or not same(before, cells):
                memory = storage_of(tensor)._cdata
                self._writes[memory] = self._writes.get(memory, 0) + 1
            self._note(tensor, cells)
            if whole is not None and around is not None:
                self._note(whole, around)

    def _with_part(self, whole: Tensor, part: Tensor, cells: Cells) -> Cells | None:
        """Find the cells of a tensor of which a part is about to be written."""
        before = self._cells_of(whole)
        if before is None and whole.requires_grad:  # it holds something of the image already
            return None
        if before is not None and before.grid != cells.grid:
            return None
        index = torch.empty_strided(whole.shape, whole.stride(), dtype=torch.int64)
        index.copy_(torch.full((), NO_CELL) if before is None else before.index)
        place = part.storage_offset() - whole.storage_offset()
        index.as_strided(part.shape, part.stride(), place).copy_(cells.index)
        return cells.with_index(thin(index))

    def _version(self, tensor: Tensor) -> int:
        return self._writes.get(storage_of(tensor)._cdata, 0)
