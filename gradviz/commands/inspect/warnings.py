"""Warnings of `inspect`: problems that one forward and one backward pass reveal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import isfinite
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

from gradviz.backward.graph import edge_of, kind_of, nodes_of
from gradviz.field.dependence.rules import TENSOR_VIEWS
from gradviz.runs.schema import InspectedLayer
from gradviz.seeds.answers import are_probabilities
from gradviz.text import listed

VANISHING_DROP = 1e4
"""The factor by which the gradient's norm drops between layers above which a warning is given."""
DEAD_SHARE = 0.5
"""The share of dead units above which a warning is given."""

MOST_LISTED = 5
"""The most layers that a warning names; the others are counted."""

PROBABILITIES = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
"""The operations that turn logits into probabilities: autograd's name and the common one."""

SEE_THROUGH = TENSOR_VIEWS | {"Slice", "Select"}
"""The operations that may lie between such an operation and the output."""

BATCH_NORM_NODES = frozenset(
    {"NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "BatchNormWithUpdate"}
)
"""Batch norms, whose nodes record if they used the batch's statistics."""


def warnings_of(
    y: Tensor,
    two: Tensor | None,
    layers: Sequence[InspectedLayer],
    idle: Sequence[str],
    random: Sequence[str],
) -> list[str]:
    """List the warnings, one line for each thing that may mislead.

    Args:
        y: the output [1, ...], with its graph.
        two: the output [2, ...] for the image twice, with its graph; None if `may_mix` is False.
        layers: the layers that ran.
        idle: the layers that did not run.
        random: the operators that drew random numbers.
    """
    nodes = nodes_of(y)
    return [
        *_probabilities(y),
        *_batch_statistics(nodes, [] if two is None else nodes_of(two)),
        *_dropout(random),
        *_unreached(layers),
        *_idle(idle),
        *_vanishing(layers),
        *_nonfinite(layers),
        *_dead(layers),
    ]


def _probabilities(y: Tensor) -> Iterator[str]:
    node: Node | None = edge_of(y).node
    while node is not None and kind_of(node) in SEE_THROUGH:
        node = node.next_functions[0][0]
    planes = y.detach()[0]
    if node is not None and kind_of(node) in PROBABILITIES:
        seen = f"the output has gone through a {PROBABILITIES[kind_of(node)]}"
    elif planes.dim() in (1, 3) and len(planes) > 1 and are_probabilities(planes):
        seen = "the output is made of probabilities: positive, and 1 in total"
    else:
        return
    yield (
        f"{seen}, so its gradient fades where the model is sure: differentiate the logits, with "
        "--output or a model that returns them"
    )


def may_mix(y: Tensor) -> bool:
    """Return True if norms may use the statistics of the batch, even for a single image."""
    return any(node._saved_running_mean is None for node in _in_training(nodes_of(y)))


def _batch_statistics(nodes: Sequence[Any], of_two: Sequence[Any]) -> Iterator[str]:
    # Without running statistics it is a batch norm if two images stay two in its input: an instance
    # norm, which has no other mode, gets them as one with twice the channels.
    count = sum(node._saved_running_mean is not None for node in _in_training(nodes)) + sum(
        node._saved_running_mean is None and node._saved_input.shape[0] == 2
        for node in _in_training(of_two)
    )
    if count:
        yield (
            f"batch norms ({count}) normalise by the batch's statistics, as in training: every "
            "image's output depends on its batch; call eval() before saving the model, and keep "
            "running statistics"
        )


def _in_training(nodes: Sequence[Any]) -> list[Any]:
    return [node for node in nodes if kind_of(node) in BATCH_NORM_NODES and node._saved_training]


def _dropout(random: Sequence[str]) -> Iterator[str]:
    if random:
        yield (
            f"the model draws random numbers ({', '.join(random)}), as active dropout does: its "
            "gradient is another in every call; call eval() before saving the model"
        )


def _unreached(layers: Sequence[InspectedLayer]) -> Iterator[str]:
    names = [layer.name for layer in layers if not layer.gradient]  # None, or exactly 0
    if names:
        yield f"no gradient reaches {listed(names, MOST_LISTED)}"


def _idle(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"did not run for this input: {listed(names, MOST_LISTED)}"


def _vanishing(layers: Sequence[InspectedLayer]) -> Iterator[str]:
    """Yield a warning of the steepest drop from a layer to one that ran before it."""
    norms = [
        (layer.gradient, layer.name)
        for layer in reversed(layers)
        if layer.gradient and isfinite(layer.gradient)
    ]
    largest = accumulate(norms, max)
    drops = (
        (most / norm, after, before)
        for (most, after), (norm, before) in zip(largest, norms, strict=True)
    )
    drop, after, before = max(drops, default=(0.0, "", ""))
    if drop > VANISHING_DROP:
        yield f"the gradient vanishes: from {after} back to {before} its norm drops {drop:.0e} fold"


def _nonfinite(layers: Sequence[InspectedLayer]) -> Iterator[str]:
    for what in ("activation", "gradient"):
        values = ((layer.name, getattr(layer, what)) for layer in layers)
        names = [name for name, value in values if value is not None and not isfinite(value)]
        if names:
            yield f"the {what} is NaN or Inf at {listed(names, MOST_LISTED)}"


def _dead(layers: Sequence[InspectedLayer]) -> Iterator[str]:
    found = [layer for layer in layers if (layer.dead or 0) > DEAD_SHARE]
    if found:
        dead = [f"{layer.name} ({layer.dead:.0%})" for layer in found]
        yield f"more than half of the units are dead for this input at {listed(dead, MOST_LISTED)}"
