"""Relevance propagation: hands the score back through the graph of a pass.

As gradients are, relevance is pulled back along the autograd graph, from the output to the image,
but by the rules of `table.py`. The model stays as it is, and every format is treated alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import Node

from gradviz.backward.graph import ACCUMULATE, End, edge_of, kind_of, nodes_of, users_of
from gradviz.backward.relevance.elementary import is_layer
from gradviz.backward.relevance.operands import KeptCall, OperandRecorder
from gradviz.backward.relevance.operation import Cause, Operation, total
from gradviz.backward.relevance.table import NORMS, RECORDED, RelevanceRule, receivers, rule_of
from gradviz.errors import ModelError
from gradviz.text import listed

CAUSES: tuple[Cause, ...] = ("biases", "constants", "epsilon", "softmax")
"""The causes that absorb relevance, in the order of the documentation."""


@dataclass(frozen=True)
class HandedBack:
    """The relevance that arrived, and what was absorbed on the way."""

    relevance: Tensor
    """The relevance of the input or the layer, of its shape."""
    absorbed: dict[Cause, float]
    """The relevance that arrived nowhere, by its cause."""


def recorder() -> OperandRecorder:
    """Make a recorder of the values that the rules read; the forward pass runs within it."""
    return OperandRecorder(RECORDED)


def hand_back(y: Tensor, end: End, relevance: Tensor, operands: OperandRecorder) -> HandedBack:
    """Pull relevance back through the pass that computed `y`.

    Args:
        y: the output [N, ...], with its graph.
        end: the input, or the output of a layer.
        relevance: the relevance of the output, of the shape of `y`.
        operands: the values that the forward pass recorded.

    Returns:
        the relevance of `end`.

    Raises:
        ModelError: an operation has no rule; no layer has a weight; or no path leads to `end`.
    """
    plan = _planned(y, operands)
    goal = edge_of(end)
    arrived: defaultdict[Node, dict[int, Tensor]] = defaultdict(dict)
    absorbed: dict[Cause, list[Tensor]] = {cause: [] for cause in CAUSES}

    def hand(node: Node, number: int, share: Tensor) -> None:
        before = arrived[node].get(number)
        arrived[node][number] = share if before is None else before + share

    start = edge_of(y)
    hand(start.node, start.output_nr, relevance)
    found: Tensor | None = None
    with torch.no_grad():
        for operation, rule in plan:
            outputs = arrived.pop(operation.node, {})
            if operation.node is goal.node:
                found = outputs.pop(goal.output_nr, None)
            if not outputs:
                continue
            if isinstance(rule, str):
                if any(bool(each.any()) for each in outputs.values()):
                    raise _refusal(plan, operation)
                continue
            count = max(outputs) + 1
            shares = rule(operation, *(outputs.get(place) for place in range(count)))
            for cause, amount in shares.absorbed.items():
                absorbed[cause].append(amount)
            for place, share in shares.inputs.items():
                before, number = operation.node.next_functions[place]
                hand(before, number, share)
    if kind_of(goal.node) == ACCUMULATE:
        found = arrived.pop(goal.node, {}).get(0)
        absorbed["constants"] += (
            total(each) for left in arrived.values() for each in left.values()
        )
    if found is None:
        raise ModelError("no relevance arrives: no path leads from the output back to it")
    return HandedBack(found, {cause: sum(map(float, each)) for cause, each in absorbed.items()})


Plan = list[tuple[Operation, RelevanceRule | str]]
"""Operations, each before what it depends on, with its rule, or what to call it if it has none."""


def _planned(y: Tensor, operands: OperandRecorder) -> Plan:
    """Find the rule of every operation that relevance may reach."""
    plan: Plan = []
    reached = {edge_of(y).node}
    for operation in reversed([*_operations(y, operands)]):
        if operation.node not in reached:
            continue
        rule = rule_of(operation)
        plan.append((operation, rule))
        edges = operation.node.next_functions
        reached.update(edges[place][0] for place in receivers(operation, rule))
    if not any(operation.first for operation, _ in plan):
        raise ModelError(
            "relevance is handed from layer to layer, and the model has no layer with a weight: "
            "use the method input-x-gradient"
        )
    return plan


def _refusal(plan: Plan, first: Operation) -> ModelError:
    """Make the error that names an operation without a rule, and those behind it."""
    behind, names = {first.node}, dict[str, None]()
    for operation, rule in plan:
        if operation.node in behind:
            behind.update(before for before, _ in operation.node.next_functions)
            if isinstance(rule, str):
                names[rule] = None
    return ModelError(
        f"relevance has no rule for {listed(list(names), 8)}: use the method input-x-gradient or "
        "integrated-gradients"
    )


def _operations(y: Tensor, operands: OperandRecorder) -> Iterator[Operation]:
    users = users_of(y)
    behind: set[Node] = set()
    for node in nodes_of(y):
        early = not any(before in behind for before, _ in node.next_functions)
        if not early or is_layer(node):
            behind.add(node)
        yield Operation(
            node,
            operands.call_of(node),
            first=early and is_layer(node),
            early=early,
            merged=_norm_behind(node, users[node], operands),
        )


def _norm_behind(node: Node, users: Sequence[Node], operands: OperandRecorder) -> KeptCall | None:
    """Return the batch norm that alone reads a layer's output, if its statistics are constants."""
    if not is_layer(node) or len(users) != 1 or kind_of(users[0]) not in NORMS:
        return None
    norm = operands.call_of(users[0])
    constant = norm is not None and "running_var" in norm.given and not norm.get("training")
    return norm if constant else None
