"""The rules by which operators move cells: which cell each element of a result stands for.

An operation that adds up elements of several cells makes a coarser grid if they are a block of
the grid (as where four tokens are merged into one), and has no cell otherwise. Attention adds up
the tokens of the whole image, and its result is at home where its query is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradviz.backward.cells import (
    NO_CELL,
    Cells,
    coarser,
    first_line,
    is_map,
    lies_once,
    on_grid,
    same_index,
    thin,
)
from gradviz.text import words
from gradviz.watch import tensors_in


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
    return [_as_map(Cells(grid, thin(each))) for each in results]


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
    lines = [None if each is None else first_line(each.index, axis) for each in found]
    first = lines[0]
    if first is None or any(each is None or not same_index(each, first) for each in lines):
        return []
    return [first.expand(call.shapes[0])]


def _as_map(cells: Cells) -> Cells | None:
    """Give a part of a map a grid of its own, as a convolution of it would have."""
    if cells.index.dim() == 4 and is_map(cells):
        return on_grid(cells.index.shape)
    return cells


def _merged(call: OperatorCall) -> list[Cells | None]:
    """Combine element by element: what has a cell keeps it, two different cells are none.

    If a map is added to what repeats its cells, it stays where it is: the result of attention
    repeats those of its query if the query is the same in every window.
    """
    found = _combined(call.known(), call.shapes[0])
    if found is None:
        found = _combined([each for each in call.known() if lies_once(each)], call.shapes[0])
    return [found]


def _combined(known: list[Cells], shape: torch.Size) -> Cells | None:
    merged: Cells | None = None
    for cells in sorted(known, key=lambda each: -each.size):
        if merged is not None and cells.size < merged.size and cells.size == cells.grid[0]:
            continue  # one number for a whole image, such as the weight of a channel
        index = cells.index.expand(shape)
        if merged is None:
            merged = cells.with_index(index)
        elif cells.grid != merged.grid:
            return None
        elif not same_index(merged.index, index):
            one, two = merged.index, index
            if bool(((one != two) & (one >= 0) & (two >= 0)).any()):
                return None
            merged = cells.with_index(thin(torch.maximum(one, two)))
    return merged


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
    return [cells.with_index(thin(cut.long() - 1))]


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
    line = first_line(thin(cells.index), 1)
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
    found = coarser(cells, lines)
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
    rows = None if one is None else coarser(one, one.index)
    columns = None if two is None else coarser(two, two.index.transpose(-1, -2))
    if rows is not None and (columns is None or rows.size >= columns.size):
        return [rows.with_index(rows.index.unsqueeze(-1).expand(call.shapes[0]))]
    if columns is None:
        return []
    return [columns.with_index(columns.index.unsqueeze(-2).expand(call.shapes[0]))]


def _queried(call: OperatorCall) -> list[Cells | None]:
    """Attention: the result is at home where its query is."""
    query = call.cells_of(call.given["query"])
    found = None if query is None else coarser(query, query.index)
    if found is None:
        return []
    return [found.with_index(found.index.unsqueeze(-1).expand(call.shapes[0]))]


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
        words(
            "view _unsafe_view reshape _reshape_alias permute transpose t expand slice select "
            "split split_with_sizes unsafe_split unsafe_split_with_sizes unbind chunk cat stack "
            "roll flip repeat index_select index gather squeeze unsqueeze unfold narrow "
            "movedim flatten unflatten channel_shuffle constant_pad_nd"
        ),
        _moved,
    ),
    **dict.fromkeys(
        words(
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
        words(
            "convolution _convolution convolution_overrideable max_pool2d_with_indices avg_pool2d "
            "_adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d _upsample_nearest_exact2d "
            "upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa "
            "pixel_shuffle pixel_unshuffle replication_pad2d reflection_pad2d"
        ),
        _new_grid,
    ),
    **dict.fromkeys(
        words("mean sum amax amin max min var std linalg_vector_norm logsumexp"), _reduced
    ),
    **dict.fromkeys(_FACTORS, _product),
    **dict.fromkeys(
        words(
            "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_attention_math "
            "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention "
            "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable"
        ),
        _queried,
    ),
}
"""The rule of each operator, by its name. The cells behind any other operator are not known."""
