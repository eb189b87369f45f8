"""The rules of relevance for normalisation: its divisor is taken as a constant.

What is left is a sum, of the input minus its mean, times a weight, plus a bias; it gets the epsilon
rule.

Source: Achtibat et al. 2024, arXiv:2402.05602
"""

from __future__ import annotations

from torch import Tensor

from gradviz.backward.relevance.elementary import passed
from gradviz.backward.relevance.operation import (
    Operation,
    Shares,
    divided,
    lost_to_epsilon,
    total,
)


def layer_norm(operation: Operation, relevance: Tensor) -> Shares:
    """Hand relevance back through a norm over the last axes."""
    axes = tuple(range(-len(operation.values["normalized_shape"]), 0))
    weight, bias = operation.values["weight"], operation.values["bias"]
    return _centred(operation, relevance, (weight, bias), axes, None)


def group_norm(operation: Operation, relevance: Tensor) -> Shares:
    """Hand relevance back through a norm over groups of channels."""
    given = operation.operand(0)
    weight, bias = (
        None if each is None else each.view(-1, *[1] * (given.dim() - 2))
        for each in (operation.values["weight"], operation.values["bias"])
    )
    return _centred(operation, relevance, (weight, bias), (-1,), operation.values["group"])


def batch_norm(operation: Operation, relevance: Tensor) -> Shares:
    """Hand relevance back through a batch norm: all of it, as its statistics are constants.

    With statistics of the input itself it is an instance norm.
    """
    call = operation.values
    if not call.get("training"):
        return passed(operation, relevance)
    given = operation.operand(0)
    weight, bias = (
        None if each is None else each.view(-1, *[1] * (given.dim() - 2))
        for each in (call["weight"], call["bias"])
    )
    axes = (0, *range(2, given.dim()))
    return _centred(operation, relevance, (weight, bias), axes, None)


def _centred(
    operation: Operation,
    relevance: Tensor,
    affine: tuple[Tensor | None, Tensor | None],
    axes: tuple[int, ...],
    groups: int | None,
) -> Shares:
    """Apply the epsilon rule to (x − mean) / deviation · weight + bias, the deviation constant."""
    given, z = operation.operand(0), operation.values.result()
    weight, bias = affine
    quotient = divided(relevance, z)
    pulled = quotient if weight is None else quotient * weight
    x, v = (
        each if groups is None else each.reshape(len(each), groups, -1) for each in (given, pulled)
    )
    eps = operation.values.get("eps", "epsilon")
    v = v * (x.var(axes, correction=0, keepdim=True) + eps).rsqrt()
    found = (x * (v - v.mean(axes, keepdim=True))).reshape(given.shape)
    kept = total(quotient * 0) if bias is None else total(quotient * bias)
    epsilon = lost_to_epsilon(relevance, z, quotient)
    return Shares({0: found}, {"biases": kept, "epsilon": epsilon})
