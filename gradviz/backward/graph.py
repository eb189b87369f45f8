"""The autograd graph of a pass, as torch recorded it: one node for each operation.

Eager modules, TorchScript that runs as it is written, and exported programs leave the same nodes,
so what is built on them works on every format without touching the model.
"""

from __future__ import annotations

import re

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

End = Tensor | GradientEdge
"""Where a backward pass may start: an output, or the output of any operation before it."""


def nodes_of(end: End) -> list[Node]:
    """The operations that `end` was computed by, in the order in which they ran."""
    first = end.node if isinstance(end, GradientEdge) else end.grad_fn
    found: set[Node] = set()
    waiting = [first] if first is not None else []
    while waiting:
        node = waiting.pop()
        if node in found:
            continue
        found.add(node)
        waiting.extend(before for before, _ in node.next_functions if before is not None)
    return sorted(
        (node for node in found if kind_of(node) != ACCUMULATE), key=lambda node: node._sequence_nr()
    )


ACCUMULATE = "torch::autograd::AccumulateGrad"


def kind_of(node: Node) -> str:
    """What the node's operation is called: `Relu`, `Convolution`, `MaxPool2DWithIndices`."""
    return re.sub(r"Backward\d*$", "", node.name())


def shape_of(end: End) -> tuple[int, ...]:
    """The shape of the tensor at which a backward pass starts."""
    if isinstance(end, Tensor):
        return tuple(end.shape)
    return tuple(end.node._input_metadata[end.output_nr].shape)
