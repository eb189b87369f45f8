"""The structural backward pass: finds the inputs that can matter to outputs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from gradviz.backward import graph
from gradviz.field.dependence import rules
from gradviz.field.dependence.windows import Rule

Edge = tuple[Node, int]
"""An operation, and the number of one of its outputs."""


_ATTENTION = "attention"
"""The name of attention, which has several kinds of operations."""


@dataclass(frozen=True)
class Propagation:
    """The result of a structural backward pass."""

    tainted: Tensor
    """True for inputs that can matter: bool, of the shape of the input."""
    lost_at: tuple[str, ...]
    """The kinds of the operations on the way that are unknown, or that chose by the image's values,
    so that more or less may matter than `tainted` shows; empty if it is exact."""
    through: str | None
    """The operation at which the taint first covers a whole map, if one does; in a batch, the maps
    of all images."""


def propagate(end: graph.End, x: Tensor, asked: Tensor) -> Propagation:
    """Propagate dependence backwards: find the inputs that can matter to the given outputs.

    Nothing is computed from the values of image, weights or activations. Choices that the forward
    pass made by such values are known only if it ran under `DependenceTrace`.

    Args:
        end: the output, or the output of an operation before it.
        x: the input that it was computed from, which requires a gradient.
        asked: bool, of the shape of the output: True for the given outputs.

    Raises:
        ValueError: `end` was computed without gradients.
    """
    first, source = graph.edge_of(end), graph.edge_of(x)
    tainted = {(first.node, first.output_nr): asked}
    nodes = graph.nodes_of(end)
    leading = _leading(nodes, source.node)
    severed = _severed(nodes, leading)
    lost: dict[str, None] = {}
    through: str | None = None
    users: dict[Node, Node] = {}
    for node in reversed(nodes):
        outputs = [tainted.get((node, number)) for number in range(len(graph.shapes_of(node)))]
        seen = [output for output in outputs if output is not None]
        inputs = _inputs(node, leading)
        if node is source.node or not seen or not inputs:
            continue
        if any(before in severed for before, _ in node.next_functions):
            lost["detach"] = None
        covered = any(rules.covers(output) for output in seen)
        for place, found in _pull(node, outputs, inputs, lost).items():
            edge = inputs[place]
            users.setdefault(edge[0], node)
            if through is None and not covered and rules.covers(found) and not _renames(node, seen):
                through = _culprit(node, users)
            tainted[edge] = rules.either(tainted[edge], found) if edge in tainted else found
    nothing = torch.zeros(x.shape, dtype=torch.bool, device=asked.device)
    mask = tainted.get((source.node, source.output_nr), nothing)
    return Propagation(mask.clone(memory_format=torch.contiguous_format), tuple(lost), through)


def _severed(nodes: Sequence[Node], leading: set[Node]) -> set[Node]:
    """Find the nodes whose values were cut out of another pass, as by `detach().requires_grad_()`.

    They depend on a leaf of the graph that is neither the input nor a parameter.
    """
    severed: set[Node] = set()
    for node in nodes:
        for before, _ in node.next_functions:
            leaf: Any = before
            if before in severed or (
                leaf is not None
                and graph.kind_of(leaf) == graph.ACCUMULATE
                and leaf not in leading
                and not isinstance(leaf.variable, nn.Parameter)
            ):
                severed |= {node, leaf}
    return severed - leading


def _leading(nodes: Sequence[Node], source: Node) -> set[Node]:
    """Return the source and those of the sorted nodes that depend on it."""
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
        node: the operation.
        outputs: bool, of the outputs' shapes; None for no taint.
        inputs: the inputs whose taint is needed.
        lost: receives the name of an operation that may lose taint.
    """
    kind = graph.kind_of(node)
    if kind == graph.WRITE:
        kind = node.metadata.get(graph.WROTE, graph.WRITE)
        made, known = _write(node, kind, outputs)
    elif kind in rules.RULES:
        known = kind in rules.PAIRED or not any(output is not None for output in outputs[1:])
        made = _apply(rules.RULES[kind] if known else rules.everything, node, outputs, inputs)
    else:
        made, known = {}, kind in rules.LINEAR and rules.CHOOSES_BY.get(kind) not in inputs
        # An unknown operation may have no formula, and is named below.
        with nullcontext() if known else suppress(RuntimeError):
            made = _asked(node, outputs)
    if not known or node.metadata.get(graph.SELECTS):
        lost[kind] = None
    return {place: made[place] for place in inputs if place in made and rules.touched(made[place])}


def _asked(node: Node, outputs: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """Pull taint back by the operation's own backward formula; it has the shapes of its inputs."""
    found = graph.pull_back(node, outputs)
    return {
        place: rules.unbroadcast(tainted, graph.shapes_of(before)[number])
        for place, tainted in found.items()
        for before, number in [node.next_functions[place]]
        if before is not None
    }


def _apply(
    rule: Rule, node: Node, outputs: Sequence[Tensor | None], inputs: dict[int, Edge]
) -> dict[int, Tensor]:
    made: dict[int, Tensor] = {}
    for place, (before, number) in inputs.items():
        shape = graph.shapes_of(before)[number]
        for output in outputs:
            if output is not None:
                found = rule(node, output, place, shape).expand(shape)
                made[place] = rules.either(made[place], found) if place in made else found
    return made


def _write(
    node: Node, kind: str, outputs: Sequence[Tensor | None]
) -> tuple[dict[int, Tensor], bool]:
    """Pull taint through an operation that wrote into a part of a tensor.

    Returns:
        the taint of the inputs, and True if it is exact.
    """
    (tainted,) = outputs
    assert tainted is not None
    alone = len(node.next_functions) == 1
    if rules.RULES.get(kind) is rules.elementwise and alone:
        return {0: tainted}, True
    # torch does not expose the part that was written, so its formula shows the rest.
    return _asked(node, outputs), kind in rules.LINEAR or kind in rules.ARITHMETIC


def _renames(node: Node, seen: Sequence[Tensor]) -> bool:
    """Return True if an operation only shows in another shape what was no covered map before it.

    Tokens [N, L, C] that are split into heads [N, L, h, C / h] look like a map of L channels.
    """
    return graph.kind_of(node) in rules.TENSOR_VIEWS and all(each.dim() > 2 for each in seen)


def _culprit(node: Node, users: dict[Node, Node]) -> str:
    """Name the operation that made the taint cover a map; for a view, the one that used it."""
    while graph.kind_of(node) in rules.TENSOR_VIEWS and node in users:
        node = users[node]
    return _ATTENTION if _attends(node) else graph.kind_of(node)


def _attends(node: Node) -> bool:
    """Return True if an operation is attention, or the product of its weights and its values."""
    kind = graph.kind_of(node)
    return kind.startswith("ScaledDotProduct") or (
        kind == "Bmm" and any(_is_softmax(factor) for factor, _ in node.next_functions)
    )


def _is_softmax(node: Node | None) -> bool:
    while node is not None and graph.kind_of(node) in rules.TENSOR_VIEWS:
        node = node.next_functions[0][0]
    return node is not None and graph.kind_of(node) in ("Softmax", "SafeSoftmax")
