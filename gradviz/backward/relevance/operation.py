"""One operation of a pass, as the rules of relevance see it, and what they make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from gradviz.backward.graph import kind_of, shapes_of
from gradviz.backward.relevance.operands import KeptCall

EPSILON = 1e-6
"""The size of the term that keeps a divisor from zero."""

Cause = Literal["biases", "constants", "epsilon", "softmax"]


@dataclass(frozen=True)
class Shares:
    """The relevance that an operation hands back, and what it keeps."""

    inputs: Mapping[int, Tensor]
    """The relevance of its inputs, by their numbers."""
    absorbed: Mapping[Cause, Tensor] = field(default_factory=dict)
    """The relevance that goes to no input, by its cause: float64, of no axes."""


@dataclass(frozen=True)
class Operation:
    """One operation of a pass."""

    node: Any
    """Its node in the autograd graph."""
    call: KeptCall | None
    """The values of its call; None if its kind is not recorded."""
    first: bool = False
    """True if it is a layer with a weight, and no other lies between it and the image."""
    early: bool = False
    """True if no layer with a weight lies between it and the image."""
    merged: KeptCall | None = None
    """The batch norm that alone reads its output, whose factors and shifts become its own."""

    @property
    def kind(self) -> str:
        """The kind of its node."""
        return kind_of(self.node)

    @cached_property
    def moving(self) -> tuple[int, ...]:
        """The numbers of the inputs that depend on the image."""
        edges = enumerate(self.node.next_functions)
        return tuple(place for place, (before, _) in edges if before is not None)

    @property
    def values(self) -> KeptCall:
        """The values of its call, for rules of kinds that are recorded."""
        assert self.call is not None
        return self.call

    def operand(self, place: int) -> Tensor:
        """Return the values of an input."""
        tensor: Tensor = self.values.operand(place)
        return tensor

    def shape_of(self, place: int) -> tuple[int, ...]:
        """Return the shape of an input that depends on the image."""
        node, number = self.node.next_functions[place]
        shape: tuple[int, ...] = shapes_of(node)[number]
        return shape

    def pull(self, *outputs: Tensor | None) -> dict[int, Tensor]:
        """Apply the operation's own backward formula.

        Args:
            outputs: one for each output from the first, of its shape; None for 0 everywhere.

        Returns:
            the gradients by the number of the input.
        """
        given = []
        for place, form in enumerate(self.node._input_metadata):
            output = outputs[place] if place < len(outputs) else None
            if output is None:
                output = torch.zeros(form.shape, dtype=form.dtype, device=form.device)
            given.append(output.to(form.dtype))
        found = self.node(*given)
        listed = found if isinstance(found, tuple) else (found,)
        # The formulas of operations leave it to the engine to undo a broadcast.
        return {
            place: each.sum_to_size(self.shape_of(place))
            for place, each in enumerate(listed)
            if each is not None and place in self.moving
        }


def total(tensor: Tensor) -> Tensor:
    """Sum a tensor in float64."""
    return tensor.sum(dtype=torch.float64)


def times(values: Tensor, factor: Tensor) -> Tensor:
    """Multiply, with 0 where the factor is 0: a masked value is −Inf."""
    return torch.where(factor == 0, 0, values * factor)


def divided(relevance: Tensor, z: Tensor) -> Tensor:
    """Divide relevance by the sum z that it came from, moved away from zero by `EPSILON`.

    Where z is 0, so is the quotient.
    """
    return torch.where(z == 0, 0, relevance / torch.where(z < 0, z - EPSILON, z + EPSILON))


def lost_to_epsilon(relevance: Tensor, z: Tensor, quotient: Tensor) -> Tensor:
    """Return the relevance that `divided` leaves out."""
    return total(relevance) - total(times(z, quotient))


def summed(tensors: Sequence[Tensor]) -> Tensor:
    """Add up the totals of some tensors, in float64."""
    return torch.stack([total(each) for each in tensors]).sum()


def norm_scale(norm: KeptCall) -> Tensor:
    """Return the factor of a batch norm for each channel, [C, 1, …]."""
    scale = (norm["running_var"] + norm.get("eps", "epsilon")).rsqrt()
    if norm["weight"] is not None:
        scale = scale * norm["weight"]
    found: Tensor = scale.view(-1, *[1] * (norm.result().dim() - 2))
    return found


def norm_shift(norm: KeptCall, bias: Any) -> Any:
    """Return what a batch norm makes of the bias of the layer before it, for each channel."""
    shape = [-1] + [1] * (norm.result().dim() - 2)
    shift = (bias - norm["running_mean"]) * norm_scale(norm).flatten()
    return (shift if norm["bias"] is None else shift + norm["bias"]).view(shape)
