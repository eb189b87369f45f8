"""Recognises normalisation that a model writes out: a value over a size that is made of it.

Relevance passes to the value, and none to the size, as at the norms of torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

from gradviz.backward.graph import kind_of
from gradviz.backward.relevance.operation import Operation, Shares

_Edge = tuple[Node, int]

SIZE_OPERATIONS = frozenset(
    [
        *(
            "Rsqrt",
            "Sqrt",
            "Reciprocal",
            "Pow",
            "Abs",
            "Mul",
            "Add",
            "Sub",
            "ClampMin",
            "Clamp",
            "Maximum",
        ),
        *("Mean", "Sum", "Var", "Std", "VarMean", "StdMean", "LinalgVectorNorm", "Norm", "Amax"),
        *("Expand", "Unsqueeze", "Squeeze", "View", "ToCopy"),
    ]
)
"""The operations that make a size of a value."""

MEASURES = frozenset(
    [*("Mean", "Sum", "Var", "Std", "VarMean", "StdMean", "LinalgVectorNorm", "Norm")]
)
"""The operations of which a size has at least one: those that look at many elements."""

CENTRINGS = frozenset(["Sub", "Mean", "VarMean", "StdMean", "Expand", "ToCopy", "Clone"])
"""The operations between a value and what it is less its mean."""

FAR = 24
"""The number of operations that are searched."""


def normalised(node: Any) -> int | None:
    """Return the number of the input that an operation divides by a size of that input.

    Args:
        node: a product or a quotient of two values that depend on the image.

    Returns:
        None if the operation is something else.
    """
    edges: list[_Edge] = [(before, number) for before, number in node.next_functions if before]
    if len(edges) != 2:
        return None
    for place in (0,) if kind_of(node) == "Div" else (0, 1):
        value, size = edges[place], edges[1 - place]
        if kind_of(node) == "Mul" and not _inverts(size):
            continue
        kinds, ends = _behind(size, SIZE_OPERATIONS, {value})
        _, sources = _behind(value, CENTRINGS, set())
        if kinds & MEASURES and ends <= {value, *sources}:
            return place
    return None


def passed_to_value(operation: Operation, relevance: Tensor) -> Shares:
    """Hand all relevance to the value that is divided by its size."""
    place = normalised(operation.node)
    assert place is not None
    return Shares({place: relevance.sum_to_size(operation.shape_of(place))})


def _inverts(edge: _Edge) -> bool:
    """Return True if a factor begins with an operation that inverts."""
    node: Any = edge[0]
    for _ in range(FAR):
        kind = kind_of(node)
        if kind in ("Rsqrt", "Reciprocal"):
            return True
        if kind == "Pow":
            return bool(node._saved_exponent < 0)
        if kind not in ("Expand", "Unsqueeze", "ToCopy"):
            return False
        (before, _), *_ = node.next_functions
        if before is None:
            return False
        node = before
    return False


def _behind(
    edge: _Edge, through: Collection[str], goals: Collection[_Edge]
) -> tuple[set[str], set[_Edge]]:
    """Walk back from an edge through operations of some kinds.

    Returns:
        the kinds that were met, and the edges where the walk ended.
    """
    kinds, ends, waiting = set[str](), set[_Edge](), [edge]
    for _ in range(FAR):
        if not waiting:
            break
        node, number = waiting.pop()
        if (node, number) in goals or kind_of(node) not in through:
            ends.add((node, number))
            continue
        kinds.add(kind_of(node))
        waiting += _inputs(node)
    return kinds, ends | set(waiting)


def _inputs(node: Node) -> Iterator[_Edge]:
    return ((before, number) for before, number in node.next_functions if before is not None)
