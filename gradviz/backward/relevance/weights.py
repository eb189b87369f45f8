"""The rules of relevance for layers with a weight: z⁺ for convolutions, flat for the first layer.

A batch norm behind a layer is a part of it, as if it had been folded into the weight before.

Sources:
    z⁺ and flat: Kohlbrenner et al. 2020, arXiv:1910.09840
    inputs of both signs: Anders et al. 2021, arXiv:2106.13200
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from gradviz.backward.relevance.elementary import FACTORS
from gradviz.backward.relevance.operands import KeptCall
from gradviz.backward.relevance.operation import (
    Operation,
    Shares,
    divided,
    lost_to_epsilon,
    norm_scale,
    norm_shift,
    total,
)

GEOMETRY = ("stride", "padding", "dilation", "transposed", "output_padding", "groups")
"""The arguments of a convolution beside its tensors, in order."""


def z_plus(operation: Operation, relevance: Tensor) -> Shares:
    """Share relevance among what contributed positively: inputs and weights of the same sign."""
    given, (weight, bias) = operation.operand(0), folded(operation)
    layer = _Convolution(operation.values)
    parts = [(given.clamp(min=0), weight.clamp(min=0))]
    if bool((given < 0).any()):
        parts.append((given.clamp(max=0), weight.clamp(max=0)))
    shift = bias.clamp(min=0)
    z = shift + _sum(layer.forth(some, there) for some, there in parts)
    quotient = divided(relevance, z)
    found = _sum(some * layer.back(quotient, some, there) for some, there in parts)
    return Shares(
        {0: found},
        {
            "biases": total(shift * quotient),
            "epsilon": lost_to_epsilon(relevance, z, quotient),
        },
    )


def _sum(tensors: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, tensors)


def spread_flat(operation: Operation, relevance: Tensor) -> Shares:
    """Share relevance equally among all inputs of each sum."""
    if operation.kind != "Convolution":
        return _flat_product(operation, relevance)
    layer, given = _Convolution(operation.values), operation.operand(0)
    weight = torch.ones_like(operation.operand(1))
    z = layer.forth(torch.ones_like(given), weight)
    quotient = divided(relevance, z)
    found = layer.back(quotient, given, weight)
    return Shares({0: found}, {"epsilon": lost_to_epsilon(relevance, z, quotient)})


def _flat_product(operation: Operation, relevance: Tensor) -> Shares:
    left, right = FACTORS[operation.kind]
    (place,) = (each for each in operation.moving if each in (left, right))
    axis = -1 if place == left else -2
    shape = operation.shape_of(place)
    z = relevance.new_full((), shape[axis])
    quotient = divided(relevance, z)
    found = quotient.sum(axis, keepdim=True).expand(shape)
    return Shares({place: found}, {"epsilon": lost_to_epsilon(relevance, z, quotient)})


class _Convolution:
    """The convolution of a call, with other weights."""

    def __init__(self, call: KeptCall) -> None:
        self._geometry: list[Any] = [call[name] for name in GEOMETRY]

    def forth(self, given: Tensor, weight: Tensor) -> Tensor:
        """Apply it."""
        return torch.ops.aten.convolution(given, weight, None, *self._geometry)  # type: ignore[no-any-return]

    def back(self, output: Tensor, given: Tensor, weight: Tensor) -> Tensor:
        """Apply its transpose; of `given` only the shape matters."""
        found = torch.ops.aten.convolution_backward(
            output, given, weight, None, *self._geometry, [True, False, False]
        )
        return found[0]  # type: ignore[no-any-return]


def folded(operation: Operation) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution, with the batch norm behind it folded in.

    Args:
        operation: the convolution.

    Returns:
        the weight, and the bias as [C, 1, …].
    """
    call, norm = operation.values, operation.merged
    weight, bias = call["weight"], call["bias"]
    rest = [1] * (weight.dim() - 2)
    if bias is None:
        bias = weight.new_zeros(operation.node._input_metadata[0].shape[1])
    if norm is None:
        return weight, bias.view(-1, *rest)
    scale = norm_scale(norm)
    if not call["transposed"]:
        return weight * scale[:, None], norm_shift(norm, bias)
    groups = call["groups"]
    split = weight.unflatten(0, (groups, -1)) * scale.view(groups, 1, -1, *rest)
    return split.flatten(0, 1), norm_shift(norm, bias)
