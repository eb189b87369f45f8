"""The axis of a layer's output along which its channels lie.

A map [N, C, H, W] and one with its channels last, [N, H, W, C], have shapes that look alike. The
operations that computed them decide: a convolution puts its channels in axis 1, a linear layer in
the last one, and permutations and views move them. If no such operation is found, the layout is
unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

from torch.autograd.graph import GradientEdge, Node

from gradviz.backward.graph import ACCUMULATE, kind_of, shapes_of, signed_axis


def channel_axis(end: GradientEdge) -> int | None:
    """Find the axis along which the channels of an output lie; None if it is unknown."""
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
    """Find the axis of an operation's output that holds the channels of its inputs."""
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
    """Return the channel axis of a norm: a norm over the last axis alone is one over channels."""
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
"""Operations that determine the channel axis of their output alone."""


def _permuted(node: Any, axis: int, given: Sequence[int], place: int) -> int:
    return [signed_axis(each) % len(given) for each in node._saved_dims].index(axis)


def _transposed(node: Any, axis: int, given: Sequence[int], place: int) -> int:
    first, second = (
        signed_axis(each) % len(given) for each in (node._saved_dim0, node._saved_dim1)
    )
    return {first: second, second: first}.get(axis, axis)


def _viewed(node: Any, axis: int, given: Sequence[int], place: int) -> int | None:
    """Find the axis with the same values after a view; the first axis is that of the images."""
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
    """Find the axis after a product: rows are those of the first factor, columns of the second."""
    if axis == 2 and node.next_functions[1][0] is None:
        return 2  # by a fixed matrix: a linear layer, which torch multiplies so if it must not copy
    return axis if axis == place + 1 else None


MOVES: dict[str, Callable[[Any, int, Sequence[int], int], int | None]] = {
    "Permute": _permuted,
    "Transpose": _transposed,
    "T": lambda node, axis, given, place: 1 - axis,
    **dict.fromkeys(("View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze"), _viewed),
    "Bmm": _multiplied,
}
"""`(node, axis of the input, its shape, its place) -> axis of the output`. Other operations keep
the axes of an input of their output's rank."""
