"""The autograd graph of a pass, as torch recorded it: one node for each operation.

Eager modules, TorchScript that runs as it is written, and exported programs leave the same nodes,
so what is built on them works on every format without touching the model.
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
"""Where a backward pass may start: an output, or the output of any operation before it."""

ACCUMULATE = "AccumulateGrad"

WRITE = "CopySlices"
"""The kind of every operation that wrote into a view; which one it was, torch does not tell."""

SELECTS = "gradviz: selects by the image's values"

WROTE = "gradviz: the kind of operation that wrote"
"""Keys of `node.metadata`, where a forward pass leaves what the graph itself does not tell."""


def edge_of(end: End) -> GradientEdge:
    """The node that computed `end`, and which of its outputs that is.

    Raises:
        ValueError: `end` was computed without gradients.
    """
    if not isinstance(end, Tensor):
        return end
    if not end.requires_grad:
        raise ValueError("the tensor was computed without gradients: it has no graph")
    return get_gradient_edge(end)


def nodes_of(end: End) -> list[Node]:
    """The operations that `end` was computed by, each after all that it depends on.

    Among those that do not depend on each other, the order is that in which they ran. Leaves (the
    input, parameters) are no operations and left out.
    """
    first = edge_of(end).node
    users = _count_users(first)
    # Numbers alone are not enough: torch makes the node of a view anew, and so late, where the
    # memory under it was written to.
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
    """The operations that go on from each operation below `end`, an edge each."""
    users: defaultdict[Node, list[Node]] = defaultdict(list)
    for node in nodes_of(end):
        for before, _ in node.next_functions:
            if before is not None:
                users[before].append(node)
    return users


def _count_users(first: Node) -> Counter[Node]:
    """How many edges lead from the graph below `first` to each of its nodes."""
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
    """What the node's operation is called: `Relu`, `Convolution`, `MaxPool2DWithIndices`.

    A Python function keeps the whole name of its node, so that it never passes for one of torch's.
    """
    if isinstance(node, BackwardCFunction):
        return node.name()
    return re.sub(r"Backwards?\d*(_copy)?$", "", node.name().rpartition("::")[2])


def kind_of_operator(name: str) -> str:
    """The kind that the nodes of an ATen operator have: `aten::leaky_relu_` is a `LeakyRelu`."""
    return name.rpartition("::")[2].title().replace("_", "")


def shapes_of(node: Node) -> list[tuple[int, ...]]:
    """The shapes of what the operation computed."""
    return [tuple(form.shape) for form in node._input_metadata]


def shape_of(end: End) -> tuple[int, ...]:
    """The shape of the tensor at which a backward pass starts."""
    if isinstance(end, Tensor):
        return tuple(end.shape)
    return shapes_of(end.node)[end.output_nr]


def pull_back(node: Any, outputs: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """Which inputs the operation's own backward formula gives NaN to.

    Args:
        outputs: bool, one for each output, of its shape: NaN goes in where it is True, 0 elsewhere;
            None for 0 everywhere.

    Returns:
        bool, of the input's shape, by the number of the input, where it has a gradient.
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
            # It answers for every argument, not only for the tensors that are inputs here.
            asked = zip(node.needs_input_grad, found, strict=False)
            answers = iter([gradient for needed, gradient in asked if needed])
            found = tuple(before and next(answers, None) for before, _ in node.next_functions)
        else:
            found = _as_tuple(node(*seeds))
    return {place: gradient.isnan() for place, gradient in enumerate(found) if gradient is not None}


def _as_tuple(found: Any) -> tuple[Tensor | None, ...]:
    return found if isinstance(found, tuple) else (found,)
