"""Which axis of a layer's output its channels lie along.

A map [N, C, H, W] and one with its channels last, [N, H, W, C], look alike by their shapes. What
computed them tells: a convolution puts its channels in axis 1, a linear layer in the last one, and
permutations and views move them. Where that leads nowhere, the layout is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

from torch.autograd.graph import GradientEdge, Node

from gradviz.backward.graph import ACCUMULATE, kind_of, shapes_of, signed_axis


def channel_axis(end: GradientEdge) -> int | None:
    """The axis of an output that its channels lie along; None if it is not known."""
    known: dict[Node, int | None] = {}
    waiting = [end.node]
    while waiting:
        node = waiting[-1]
        begins = BEGINS.get(kind_of(node))
        before = [] if begins else [each for each, _ in _inputs(node) if each not in known]
        if before:
            waiting += before
            continue
        waiting.pop()
        known[node] = begins(node) if begins else _carried(node, known)
    return known[end.node]


def _inputs(node: Node) -> Iterator[tuple[Node, int]]:
    return ((before, n) for before, n in node.next_functions if before is not None)


def _carried(node: Any, known: dict[Node, int | None]) -> int | None:
    """The axis that an operation leaves the channels of its first input with any in."""
    shape = shapes_of(node)[0]
    moves = MOVES.get(kind_of(node))
    for place, (before, n) in enumerate(node.next_functions):
        axis = None if before is None else known[before]
        if axis is None:
            continue
        given = shapes_of(before)[n]
        if moves is not None:
            axis = moves(node, axis, given, place)
        elif len(given) != len(shape):
            axis = None
        if axis is not None:
            return axis
    return None


def _image(node: Any) -> int | None:
    return 1 if node.variable.dim() == 4 else None


def _norm(node: Any) -> int | None:
    """A norm over the last axis alone is one over channels."""
    rank = len(shapes_of(node)[0])
    return rank - 1 if len(node._saved_normalized_shape) == 1 else 1 if rank == 4 else None


BEGINS: dict[str, Callable[[Any], int | None]] = {
    ACCUMULATE: _image,
    "Convolution": lambda node: 1,
    "NativeBatchNorm": lambda node: 1,
    "NativeGroupNorm": lambda node: 1,
    "NativeLayerNorm": _norm,
    "Addmm": lambda node: 1,
    "Mm": lambda node: 1,
}
"""Operations that tell by themselves where their channels lie."""


def _permuted(node: Any, axis: int, given: Sequence[int], place: int) -> int:
    return [signed_axis(each) % len(given) for each in node._saved_dims].index(axis)


def _transposed(node: Any, axis: int, given: Sequence[int], place: int) -> int:
    first, second = (
        signed_axis(each) % len(given) for each in (node._saved_dim0, node._saved_dim1)
    )
    return {first: second, second: first}.get(axis, axis)


def _viewed(node: Any, axis: int, given: Sequence[int], place: int) -> int | None:
    """The axis of the same values, if a view has one; the first is that of the images."""
    shape = shapes_of(node)[0]
    return next(
        (
            n
            for n in range(1, len(shape))
            if shape[n] == given[axis] and prod(shape[:n]) == prod(given[:axis])
        ),
        None,
    )


def _multiplied(node: Any, axis: int, given: Sequence[int], place: int) -> int | None:
    """The rows of a product are those of its first factor, the columns those of its second."""
    return axis if axis == place + 1 else None


MOVES: dict[str, Callable[[Any, int, Sequence[int], int], int | None]] = {
    "Permute": _permuted,
    "Transpose": _transposed,
    "T": lambda node, axis, given, place: 1 - axis,
    **dict.fromkeys(("View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze"), _viewed),
    "Bmm": _multiplied,
}
"""`(node, axis of the input, its shape, its place) -> axis of the output`. What is not here leaves
the axes of an input of its rank as they are."""
