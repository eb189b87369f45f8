"""The rules of relevance for sums, products, selections and elementwise functions.

Sources:
    epsilon: Bach et al. 2015, doi:10.1371/journal.pone.0130140
    products and softmax: Achtibat et al. 2024, arXiv:2402.05602
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from gradviz.backward.graph import kind_of
from gradviz.backward.relevance.operation import (
    Cause,
    Operation,
    Shares,
    divided,
    lost_to_epsilon,
    norm_scale,
    norm_shift,
    summed,
    times,
    total,
)

FACTORS = {
    "Mul": (0, 1),
    "Mm": (0, 1),
    "Mv": (0, 1),
    "Bmm": (0, 1),
    "Addmm": (1, 2),
    "Baddbmm": (1, 2),
    "Addcmul": (1, 2),
}
"""Products, with the numbers of the inputs that are multiplied; others are added."""

BY_ELEMENT = frozenset({"Mul", "Addcmul"})
"""The products of one element by another, of which none is a layer."""


def is_layer(node: Node) -> bool:
    """Return True if a node is a convolution or a matrix product by a constant."""
    kind = kind_of(node)
    moving = [place for place, (before, _) in enumerate(node.next_functions) if before is not None]
    if kind == "Convolution":
        return moving == [0]
    factors = () if kind in BY_ELEMENT else FACTORS.get(kind, ())
    return len([place for place in moving if place in factors]) == 1


def routed(operation: Operation, *relevance: Tensor | None) -> Shares:
    """Hand relevance to the elements that were selected or moved; constants keep theirs.

    The formula is that of the operation itself.
    """
    found = operation.pull(*relevance)
    kept = summed([each for each in relevance if each is not None])
    if found:
        kept = kept - summed([*found.values()])
    return Shares(found, {"constants": kept})


def passed(operation: Operation, relevance: Tensor) -> Shares:
    """Hand all relevance to the one input that depends on the image."""
    (place,) = operation.moving
    return Shares({place: relevance.sum_to_size(operation.shape_of(place))})


def shared(operation: Operation, relevance: Tensor) -> Shares:
    """Share relevance by what each input contributed to the sum: the epsilon rule.

    The factors of a product contributed equally: each gets half. A batch norm behind a linear layer
    is a part of it.
    """
    merged = operation.merged
    z = operation.values.result() if merged is None else merged.result()
    quotient = divided(relevance, z)
    pulled = operation.pull(quotient if merged is None else quotient * norm_scale(merged))
    factors = FACTORS.get(operation.kind, ())
    moving = [place for place in factors if place in operation.moving]
    found = {
        place: times(operation.operand(place), each) / (len(moving) if place in factors else 1)
        for place, each in pulled.items()
    }
    absorbed: dict[Cause, Tensor] = {"epsilon": lost_to_epsilon(relevance, z, quotient)}
    shift = _shift(operation)
    if shift is not None:
        cause: Cause = "biases" if is_layer(operation.node) else "constants"
        absorbed[cause] = total(times(torch.as_tensor(shift).to(quotient), quotient))
    return Shares(found, absorbed)


def sampled(operation: Operation, relevance: Tensor) -> Shares:
    """Share the relevance of samples of a map; the places where they are taken are constants."""
    z = operation.values.result()
    quotient = divided(relevance, z)
    found = times(operation.operand(0), operation.pull(quotient)[0])
    return Shares({0: found}, {"epsilon": lost_to_epsilon(relevance, z, quotient)})


def _shift(operation: Operation) -> Any:
    """Return what constants add to the sum, a tensor or a number; None if none do."""
    call, kind, shift = operation.values, operation.kind, None
    if kind in ("Add", "Sub", "Rsub"):
        alpha = call["alpha"]
        signs = {"Add": (1, alpha), "Sub": (1, -alpha), "Rsub": (-alpha, 1)}[kind]
        for place, name in enumerate(("self", "other")):
            if place not in operation.moving:
                shift = call[name] * signs[place]
    elif kind in ("Addmm", "Baddbmm") and 0 not in operation.moving:
        shift = call["self"] * call["beta"]
    elif kind == "Addcmul" and 0 not in operation.moving:
        shift = call["self"]
    if operation.merged is None:
        return shift
    return norm_shift(operation.merged, 0 if shift is None else shift)


def linearised(operation: Operation, relevance: Tensor) -> Shares:
    """Share the relevance of a softmax by its first-order expansion at its input."""
    given, y, axis = operation.operand(0), operation.values.result(), operation.values["dim"]
    found = softmax_shares(given, y, relevance, axis)
    return Shares({0: found}, {"softmax": total(relevance) - total(found)})


def softmax_shares(given: Tensor, y: Tensor, relevance: Tensor, axis: int) -> Tensor:
    """Compute x (R − y ΣR) for y = softmax(x)."""
    # Masked scores are −Inf, and have no share.
    given = given.masked_fill(given == -torch.inf, 0)
    return given * (relevance - y * relevance.sum(axis, keepdim=True))


def halved(operation: Operation, relevance: Tensor) -> Shares:
    """Hand half to each half of a gated linear unit."""
    axis = operation.values["dim"]
    return Shares({0: torch.cat([relevance / 2, relevance / 2], axis)})
