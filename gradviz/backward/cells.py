"""Follows which cell of the image each element of a tensor stands for.

A convolution makes a map, whose elements lie on a grid over the image. Operations behind it may
flatten the map into tokens, put other tokens before them, cut them into windows and move them
about. Beside each tensor an index tensor goes along, and everything that moves elements is done to
both. So the cell of a token is derived from the pass itself, and not from the name of a layer.

An operation that adds up elements of several cells makes a coarser grid if they are a block of
the grid (as where four tokens are merged into one), and has no cell otherwise. Attention adds up
the tokens of the whole image, and its result is at home where its query is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from gradviz.watch import tensors_in

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


@dataclass(frozen=True)
class OperatorCall:
    """One call of an operator."""

    name: str
    given: dict[str, Any]
    """The values of its arguments by name."""
    again: Callable[[Callable[[Tensor], Tensor]], Any]
    """Calls the operator once more, with other tensors in place of its own."""
    shapes: tuple[torch.Size, ...]
    """The shapes of its results."""
    cells_of: Callable[[Any], Cells | None]
    """The cells of an argument, if they are known."""

    def known(self) -> list[Cells]:
        """List the cells of the arguments that have some."""
        found = (self.cells_of(each) for each in tensors_in(self.given))
        return [each for each in found if each is not None]


def cells_after(call: OperatorCall) -> list[Cells | None]:
    """Find the cells of each result of a call; None where they are not known."""
    rule = CELL_RULES.get(call.name)
    found = rule(call) if rule is not None and call.known() else []
    return found + [None] * (len(call.shapes) - len(found))


# Rules --------------------------------------------------------------------------------------------


def _moved(call: OperatorCall) -> list[Cells | None]:
    """Do the same to the index tensors. A tensor without cells is everywhere `NO_CELL`."""
    grid = call.known()[0].grid
    if any(each.grid != grid for each in call.known()):
        # Images that fill up a program's batch are maps of other images.
        alike = all(is_map(each) and each.grid[1:] == call.shapes[0][2:] for each in call.known())
        return [on_grid(call.shapes[0])] if alike else []
    if call.name in _VIEWS:
        results = [call.known()[0].index.reshape(call.shapes[0])]
    elif call.name == "constant_pad_nd":
        pad = torch.ops.aten.constant_pad_nd
        results = [pad(call.known()[0].index, call.given["pad"], NO_CELL)]
    else:
        results = _joined_alike(call) or [*tensors_in(call.again(partial(_index_of, call)))]
    return [_as_map(Cells(grid, _thin(each))) for each in results]


def _index_of(call: OperatorCall, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor  # the indices of a selection
    cells = call.cells_of(tensor)
    return torch.full((), NO_CELL).expand(tensor.shape) if cells is None else cells.index


def _joined_alike(call: OperatorCall) -> list[Tensor]:
    """Join maps of the same cells along their channels, without the work."""
    if call.name != "cat":
        return []
    axis = call.given["dim"]
    found = [call.cells_of(each) for each in call.given["tensors"]]
    lines = [None if each is None else _line(each.index, axis) for each in found]
    first = lines[0]
    if first is None or any(each is None or not _same(each, first) for each in lines):
        return []
    return [first.expand(call.shapes[0])]


def _line(index: Tensor, axis: int) -> Tensor | None:
    """Return the first slice along an axis along which nothing changes."""
    return None if index.stride(axis) or not index.shape[axis] else index.narrow(axis, 0, 1)


def _as_map(cells: Cells) -> Cells | None:
    """Give a part of a map a grid of its own, as a convolution of it would have."""
    if cells.index.dim() == 4 and is_map(cells):
        return on_grid(cells.index.shape)
    return cells


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


def _merged(call: OperatorCall) -> list[Cells | None]:
    """Combine element by element: what has a cell keeps it, two different cells are none."""
    shape = call.shapes[0]
    merged: Cells | None = None
    for cells in sorted(call.known(), key=lambda each: -each.size):
        if merged is not None and cells.size < merged.size and cells.size == cells.grid[0]:
            continue  # one number for a whole image, such as the weight of a channel
        index = cells.index.expand(shape)
        if merged is None:
            merged = cells.with_index(index)
        elif cells.grid != merged.grid:
            return []
        elif not _same(merged.index, index):
            one, two = merged.index, index
            if bool(((one != two) & (one >= 0) & (two >= 0)).any()):
                return []
            merged = cells.with_index(_thin(torch.maximum(one, two)))
    return [merged]


def _uniform(call: OperatorCall) -> list[Cells | None]:
    """Keep the cell of a tensor that has but one, however its memory is read."""
    cells = call.known()[0]
    first = cells.index.flatten()[:1]
    if not bool((cells.index == first).all()):
        return []
    return [cells.with_index(first.view([1] * len(call.shapes[0])).expand(call.shapes[0]))]


def _unfolded(call: OperatorCall) -> list[Cells | None]:
    """Cut a map into windows, which torch does for floating numbers only; 0 is `NO_CELL`."""
    (cells,) = call.known()
    cut = call.again(lambda tensor: (cells.index + 1).double())
    return [cells.with_index(_thin(cut.long() - 1))]


def _copied(call: OperatorCall) -> list[Cells | None]:
    cells = call.cells_of(call.given["src"])
    return [None if cells is None else cells.with_index(cells.index.expand(call.shapes[0]))]


def _new_grid(call: OperatorCall) -> list[Cells | None]:
    """Make the grid of a map that was computed from a map.

    If that is cut into windows or lies on its side, its elements keep their cells, as long as
    there are as many.
    """
    (given, *_) = (call.given[name] for name in ("input", "self") if name in call.given)
    cells, shape = call.cells_of(given), call.shapes[0]
    if len(shape) != 4 or given.dim() != 4:
        return []
    if cells is None or is_map(cells):
        return [on_grid(shape)]
    line = _line(_thin(cells.index), 1)
    if line is None or cells.index.shape[2:] != shape[2:]:
        return []
    return [cells.with_index(line.expand(shape))]


def _reduced(call: OperatorCall) -> list[Cells | None]:
    """Add up along axes: one cell stays, a block of cells becomes one of a coarser grid."""
    cells = call.known()[0]
    rank = cells.index.dim()
    given = call.given.get("dim")
    given = range(rank) if given is None else [given] if isinstance(given, int) else given
    axes = sorted(axis % rank for axis in given) or [*range(rank)]
    rest = [axis for axis in range(rank) if axis not in axes]
    lines = cells.index.permute(*rest, *axes).flatten(len(rest))
    found = _coarser(cells, lines)
    if found is None:
        return []
    index = found.index
    if call.given.get("keepdim"):
        for axis in axes:
            index = index.unsqueeze(axis)
    return [found.with_index(index.expand(call.shapes[0]))]


def _product(call: OperatorCall) -> list[Cells | None]:
    """Multiply matrices: the result is at home where the rows of the first factor are.

    If these have no cells, or are of the whole image, the columns of the second factor are its
    cells.
    """
    one, two = (call.cells_of(call.given[name]) for name in _FACTORS[call.name])
    rows = None if one is None else _coarser(one, one.index)
    columns = None if two is None else _coarser(two, two.index.transpose(-1, -2))
    if rows is not None and (columns is None or rows.size >= columns.size):
        return [rows.with_index(rows.index.unsqueeze(-1).expand(call.shapes[0]))]
    if columns is None:
        return []
    return [columns.with_index(columns.index.unsqueeze(-2).expand(call.shapes[0]))]


def _queried(call: OperatorCall) -> list[Cells | None]:
    """Attention: the result is at home where its query is."""
    query = call.cells_of(call.given["query"])
    found = None if query is None else _coarser(query, query.index)
    if found is None:
        return []
    return [found.with_index(found.index.unsqueeze(-1).expand(call.shapes[0]))]


def _coarser(cells: Cells, lines: Tensor) -> Cells | None:
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


def _thin(index: Tensor) -> Tensor:
    """Give stride 0 to axes along which nothing changes, so that they cost nothing."""
    for axis in range(index.dim()):
        if index.shape[axis] > 1 and index.stride(axis):
            first = index.narrow(axis, 0, 1)
            if bool((index == first).all()):
                index = first.expand(index.shape)
    return index


def same(one: Cells, two: Cells) -> bool:
    """Return True if the elements of two tensors stand for the same cells."""
    return one.grid == two.grid and _same(one.index, two.index)


def _same(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape:
        return False
    for axis in range(one.dim()):
        if one.stride(axis) == 0 and two.stride(axis) == 0 and one.shape[axis]:
            one, two = one.narrow(axis, 0, 1), two.narrow(axis, 0, 1)
    return bool(torch.equal(one, two))


def _words(text: str) -> list[str]:
    return text.split()


_VIEWS = frozenset({"view", "_unsafe_view", "reshape", "_reshape_alias"})

_FACTORS = {
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
    "linear": ("input", "weight"),
}
"""The factors of each product, by the names of the operator's arguments."""

CELL_RULES: dict[str, Callable[[OperatorCall], list[Cells | None]]] = {
    **dict.fromkeys(
        _words(
            "view _unsafe_view reshape _reshape_alias permute transpose t expand slice select "
            "split split_with_sizes unsafe_split unsafe_split_with_sizes unbind chunk cat stack "
            "roll flip repeat index_select index gather squeeze unsqueeze unfold narrow "
            "movedim flatten unflatten channel_shuffle constant_pad_nd"
        ),
        _moved,
    ),
    **dict.fromkeys(
        _words(
            "relu leaky_relu elu celu selu gelu silu mish hardswish hardsigmoid hardtanh "
            "threshold _prelu_kernel sigmoid log_sigmoid_forward tanh softplus clamp clamp_min "
            "clamp_max abs neg sqrt rsqrt exp exp2 expm1 log log1p pow reciprocal sin cos erf "
            "maximum minimum mul div add sub rsub addcmul addcdiv lerp where masked_fill _to_copy "
            "native_layer_norm native_batch_norm _native_batch_norm_legit "
            "_native_batch_norm_legit_no_training cudnn_batch_norm native_group_norm _softmax "
            "_safe_softmax _log_softmax dropout native_dropout square _fused_rms_norm clone detach "
            "alias contiguous lift_fresh"
        ),
        _merged,
    ),
    "copy": _copied,
    "as_strided": _uniform,
    "im2col": _unfolded,
    **dict.fromkeys(
        _words(
            "convolution _convolution convolution_overrideable max_pool2d_with_indices avg_pool2d "
            "_adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d _upsample_nearest_exact2d "
            "upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa "
            "pixel_shuffle pixel_unshuffle replication_pad2d reflection_pad2d"
        ),
        _new_grid,
    ),
    **dict.fromkeys(
        _words("mean sum amax amin max min var std linalg_vector_norm logsumexp"), _reduced
    ),
    **dict.fromkeys(_FACTORS, _product),
    **dict.fromkeys(
        _words(
            "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_attention_math "
            "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention "
            "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable"
        ),
        _queried,
    ),
}
"""The rule of each operator, by its name. The cells behind any other operator are not known."""
