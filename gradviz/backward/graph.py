"""The autograd graph of a pass, as torch recorded it: one node for each operation.

Eager modules, TorchScript in its unoptimised form, and exported programs leave the same nodes. Code
that reads the graph therefore works on every format without changing the model.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

End = Tensor | GradientEdge
"""The start of a backward pass: an output, or the output of an operation before it."""

ACCUMULATE = "AccumulateGrad"

WRITE = "CopySlices"
"""The kind of every operation that wrote into a view; torch does not record which one it was."""

REARRANGEMENTS = frozenset(
    [
        *("View", "UnsafeView", "ReshapeAlias", "Permute", "Transpose", "T", "Expand", "Squeeze"),
        *("Unsqueeze", "Clone", "Alias", "ToCopy", "Slice", "Select", "Split", "SplitWithSizes"),
        *("Unbind", "Roll", "Flip"),
    ]
)
"""The kinds of operations whose results are values of their input, in another order."""

SELECTS = "gradviz: selects by the image's values"

WROTE = "gradviz: the kind of operation that wrote"
"""Keys of `node.metadata`, under which a forward pass records what the graph itself lacks."""


def edge_of(end: End) -> GradientEdge:
    """Find the node that computed `end`, and the number of the output there.

    Raises:
        ValueError: `end` was computed without gradients.
    """
    if not isinstance(end, Tensor):
        return end
    if not end.requires_grad:
        raise ValueError("the tensor was computed without gradients: it has no graph")
    return get_gradient_edge(end)


def nodes_of(end: End) -> list[Node]:
    """List the operations that computed `end`, each after all that it depends on.

    Operations that do not depend on each other are in execution order. Leaves (the input,
    parameters) are not operations and are left out.
    """
    first = edge_of(end).node
    users = _count_users(first)
    # Sequence numbers alone are not enough: torch creates the node of a view again, and later, if
    # the memory under it was written to.
    turn = itertools.count()
    ready = [(-first._sequence_nr(), next(turn), first)]
    order: list[Node] = []
    while ready:
        _, _, node = heapq.heappop(ready)
        order.append(node)
        for before, _ in node.next_functions:
            if before is None:
                continue
            users[before] -= 1
            if not users[before]:
                heapq.heappush(ready, (-before._sequence_nr(), next(turn), before))
    return [node for node in reversed(order) if kind_of(node) != ACCUMULATE]


def users_of(end: End) -> defaultdict[Node, list[Node]]:
    """Map each operation below `end` to the operations that use it, one entry for each edge."""
    users: defaultdict[Node, list[Node]] = defaultdict(list)
    for node in nodes_of(end):
        for before, _ in node.next_functions:
            if before is not None:
                users[before].append(node)
    return users


def _count_users(first: Node) -> Counter[Node]:
    """Count the edges that lead from the graph below `first` to each of its nodes."""
    users: Counter[Node] = Counter()
    waiting = [first]
    while waiting:
        for before, _ in waiting.pop().next_functions:
            if before is None:
                continue
            if not users[before]:
                waiting.append(before)
            users[before] += 1
    return users


def kind_of(node: Node) -> str:
    """Name the kind of the node's operation: `Relu`, `Convolution`, `MaxPool2DWithIndices`.

    A Python function keeps the full name of its node, so that it is not mistaken for an operation
    of torch.
    """
    if isinstance(node, BackwardCFunction):
        return type(node).__name__
    return re.sub(r"Backwards?\d*(_copy)?$", "", node.name().rpartition("::")[2])


def word_of(node: Node) -> str:
    """Name the kind of the node's operation in small letters: `max_pool2d_with_indices`."""
    return re.sub(r"(?<=\w)(?=[A-Z][a-z])", "_", kind_of(node)).lower()


def kind_of_operator(name: str) -> str:
    """Name the kind that nodes of an ATen operator have: `aten::leaky_relu_` gives `LeakyRelu`."""
    return name.rpartition("::")[2].title().replace("_", "")


_RENAMED = frozenset(
    (
        *("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Transpose", "T"),
        *("Permute", "Alias", "Clone", "ToCopy", "Select", "Slice", "Expand"),
    )
)
"""The kinds of operations that keep each value, and may move it or leave some out."""


def is_of_sigmoid(y: Tensor) -> bool:
    """Return True if the values of `y` are those of a sigmoid, whatever their shape is now."""
    node = y.grad_fn
    while node is not None and kind_of(node) in _RENAMED:
        node = node.next_functions[0][0]
    return node is not None and kind_of(node) == "Sigmoid"


def shapes_of(node: Node) -> list[tuple[int, ...]]:
    """Return the shapes of the operation's outputs."""
    return [tuple(form.shape) for form in node._input_metadata]


def signed_axis(axis: int) -> int:
    """An axis as it was given; nodes keep negative ones as unsigned numbers."""
    return axis - 2**64 if axis >= 2**63 else axis


def shape_of(end: End) -> tuple[int, ...]:
    """Return the shape of the tensor at which a backward pass starts."""
    if isinstance(end, Tensor):
        return tuple(end.shape)
    return shapes_of(end.node)[end.output_nr]


def pull_back(node: Any, outputs: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """Find the inputs to which the operation's own backward formula carries NaN.

    Args:
        node: the operation.
        outputs: bool, one for each output, of its shape: NaN goes in where it is True, 0 elsewhere;
            None for 0 everywhere.

    Returns:
        bool, of the input's shape, by the number of the input; inputs without a gradient are left
        out.
    """
    seeds = []
    device = next(output.device for output in outputs if output is not None)
    for output, form in zip(outputs, node._input_metadata, strict=True):
        # Where the taint is: the pass may have run on the device of shapes alone.
        seed = torch.zeros(form.shape, dtype=form.dtype, device=device)
        nan = complex(torch.nan, torch.nan) if form.dtype.is_complex else torch.nan
        seeds.append(seed if output is None else seed.masked_fill_(output, nan))
    with torch.no_grad():
        if isinstance(node, BackwardCFunction):
            found = _as_tuple(node.apply(*seeds))  # type: ignore[no-untyped-call]
            # It returns a gradient for every argument, not only for the tensors that are inputs
            # here.
            asked = zip(node.needs_input_grad, found, strict=False)
            answers = iter([gradient for needed, gradient in asked if needed])
            found = tuple(before and next(answers, None) for before, _ in node.next_functions)
        else:
            found = _as_tuple(node(*seeds))
    return {place: gradient.isnan() for place, gradient in enumerate(found) if gradient is not None}


def _as_tuple(found: Any) -> tuple[Tensor | None, ...]:
    return found if isinstance(found, tuple) else (found,)
