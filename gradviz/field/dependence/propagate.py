"""The structural backward pass: which inputs can matter to the outputs asked about."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from gradviz.backward.graph import (
    ACCUMULATE,
    SELECTS,
    WRITE,
    WROTE,
    End,
    edge_of,
    kind_of,
    nodes_of,
    pull_back,
    shapes_of,
)
from gradviz.field.dependence.rules import (
    ARITHMETIC,
    CHOOSES_BY,
    LINEAR,
    PAIRED,
    RULES,
    TENSOR_VIEWS,
    covers,
    either,
    elementwise,
    touched,
    unbroadcast,
)
from gradviz.field.dependence.windows import Rule

Edge = tuple[Node, int]
"""An operation and which of its outputs is meant."""


@dataclass(frozen=True)
class Propagation:
    """The result of a structural backward pass."""

    tainted: Tensor
    """bool, of the shape of the input: True for what can matter."""
    lost_at: tuple[str, ...]
    """The kinds of the operations on the way that are unknown, or that chose by the image's values,
    so that more or less may matter than `tainted` shows; empty if it is exact."""
    through: str | None
    """The operation at which the taint first came to cover a whole map, if one did; of a batch, the
    maps of all images."""


def propagate(end: End, x: Tensor, asked: Tensor) -> Propagation:
    """Propagate dependence backwards: find the inputs that can matter to the outputs asked about.

    Nothing is computed from the values of image, weights or activations. Choices that the forward
    pass made by such values are known only if it ran under `DependenceTrace`.

    Args:
        end: the output, or the output of an operation before it.
        x: the input that it was computed from, which requires a gradient.
        asked: bool, of the shape of the output.

    Raises:
        ValueError: `end` was computed without gradients.
    """
    first, source = edge_of(end), edge_of(x)
    tainted = {(first.node, first.output_nr): asked}
    nodes = nodes_of(end)
    leading = _leading(nodes, source.node)
    severed = _severed(nodes, leading)
    lost: dict[str, None] = {}
    through: str | None = None
    users: dict[Node, Node] = {}
    for node in reversed(nodes):
        outputs = [tainted.get((node, number)) for number in range(len(shapes_of(node)))]
        seen = [output for output in outputs if output is not None]
        inputs = _inputs(node, leading)
        if node is source.node or not seen or not inputs:
            continue
        if any(before in severed for before, _ in node.next_functions):
            lost["detach"] = None
        covered = any(covers(output) for output in seen)
        for place, found in _pull(node, outputs, inputs, lost).items():
            edge = inputs[place]
            users.setdefault(edge[0], node)
            if through is None and not covered and covers(found):
                through = _culprit(node, users)
            tainted[edge] = either(tainted[edge], found) if edge in tainted else found
    nothing = torch.zeros(x.shape, dtype=torch.bool, device=asked.device)
    mask = tainted.get((source.node, source.output_nr), nothing)
    return Propagation(mask.clone(memory_format=torch.contiguous_format), tuple(lost), through)


def _severed(nodes: Sequence[Node], leading: set[Node]) -> set[Node]:
    """The nodes whose values were cut out of another pass, as by `detach().requires_grad_()`: they
    depend on a leaf of the graph that is neither the input nor a parameter."""
    severed: set[Node] = set()
    for node in nodes:
        for before, _ in node.next_functions:
            leaf: Any = before
            if before in severed or (
                leaf is not None
                and kind_of(leaf) == ACCUMULATE
                and leaf not in leading
                and not isinstance(leaf.variable, nn.Parameter)
            ):
                severed |= {node, leaf}
    return severed - leading


def _leading(nodes: Sequence[Node], source: Node) -> set[Node]:
    """The source and those of the nodes, sorted, that depend on it."""
    leading = {source}
    for node in nodes:
        if any(before in leading for before, _ in node.next_functions):
            leading.add(node)
    return leading


def _inputs(node: Node, leading: set[Node]) -> dict[int, Edge]:
    return {
        place: (before, number)
        for place, (before, number) in enumerate(node.next_functions)
        if before is not None and before in leading
    }


def _pull(
    node: Any, outputs: Sequence[Tensor | None], inputs: dict[int, Edge], lost: dict[str, None]
) -> dict[int, Tensor]:
    """Pull taint back from the outputs of an operation to its inputs, by their number.

    Args:
        outputs: bool, of the outputs' shapes; None for no taint.
        inputs: what is asked for.
        lost: gets the name of an operation that may lose taint.
    """
    kind = kind_of(node)
    if kind == WRITE:
        kind = node.metadata.get(WROTE, WRITE)
        made, known = _write(node, kind, outputs)
    elif kind in RULES:
        made = _apply(RULES[kind], node, outputs, inputs)
        known = kind in PAIRED or not any(output is not None for output in outputs[1:])
    else:
        made, known = {}, kind in LINEAR and CHOOSES_BY.get(kind) not in inputs
        # What is unknown may have no formula at all, and is named below.
        with nullcontext() if known else suppress(RuntimeError):
            made = _asked(node, outputs)
    if not known or node.metadata.get(SELECTS):
        lost[kind] = None
    return {place: made[place] for place in inputs if place in made and touched(made[place])}


def _asked(node: Node, outputs: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """Ask the operation's own backward formula; the taint has the shapes of its inputs."""
    found = pull_back(node, outputs)
    return {
        place: unbroadcast(tainted, shapes_of(before)[number])
        for place, tainted in found.items()
        for before, number in [node.next_functions[place]]
        if before is not None
    }


def _apply(
    rule: Rule, node: Node, outputs: Sequence[Tensor | None], inputs: dict[int, Edge]
) -> dict[int, Tensor]:
    made: dict[int, Tensor] = {}
    for place, (before, number) in inputs.items():
        shape = shapes_of(before)[number]
        for output in outputs:
            if output is not None:
                found = rule(node, output, place, shape).expand(shape)
                made[place] = either(made[place], found) if place in made else found
    return made


def _write(
    node: Node, kind: str, outputs: Sequence[Tensor | None]
) -> tuple[dict[int, Tensor], bool]:
    """Pull taint through an operation that wrote into a part of a tensor; and whether exactly."""
    (tainted,) = outputs
    assert tainted is not None
    alone = len(node.next_functions) == 1
    if RULES.get(kind) is elementwise and alone:
        return {0: tainted}, True
    # Which part it was torch keeps to itself, so the rest must be asked of it.
    return _asked(node, outputs), kind in LINEAR or kind in ARITHMETIC


def _culprit(node: Node, users: dict[Node, Node]) -> str:
    """Name the operation that made the taint cover a map: of a view, the one that used it."""
    while kind_of(node) in TENSOR_VIEWS and node in users:
        node = users[node]
    return kind_of(node)
