"""Recognises activations: operations of the graph that rectify, and what may be one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from gradviz.backward.graph import kind_of, shapes_of, signed_axis
from gradviz.backward.layer_outputs import WEIGHTS

ACTIVATIONS = frozenset(
    [
        *("Relu", "Threshold", "LeakyRelu", "PreluKernel", "RreluWithNoise"),
        *("Elu", "Celu", "Selu", "Gelu", "Silu", "Mish", "Softplus", "Hardswish"),
    ]
)
"""The nodes of activations that rectify, hard or soft; SELU and CELU are ELUs to autograd. Sigmoid
and tanh treat both signs of their input alike, so no rule applies to them."""

BOUNDED: dict[str, Callable[[Any], Any]] = {
    "Hardtanh": lambda node: node._saved_min_val,
    "Clamp": lambda node: node._saved_min,
    "ClampMin": lambda node: node._saved_min,
    "Maximum": lambda node: _constant(node),
}
"""The nodes that rectify if their lower bound is 0: ReLU6 is a Hardtanh. Between −1 and 1, a
Hardtanh treats both signs alike."""


def rectifies(node: Any) -> bool:
    """Return True if an operation is an activation at which rules hold."""
    kind = kind_of(node)
    return kind in ACTIVATIONS or (kind in BOUNDED and _is_zero(BOUNDED[kind](node), node))


def _is_zero(bound: float | Tensor | None, node: Node) -> bool:
    if isinstance(bound, Tensor):
        # A larger bound would enlarge the input, and its gradient would have another shape.
        (shape,) = (shapes_of(before)[n] for before, n in node.next_functions if before is not None)
        return shape == shapes_of(node)[0] and not bound.any()
    return bound == 0


def _constant(node: Any) -> Tensor | None:
    """Return the constant side of a maximum: the one that no gradient leads to."""
    sides = ("self", "other")
    constant = [s for s, (before, _) in zip(sides, node.next_functions, strict=True) if not before]
    return getattr(node, f"_saved_{constant[0]}") if constant else None


# What may be an activation that the model writes out in other operations --------------------------

SUSPECTS = frozenset(
    [
        *("Maximum", "Minimum", "Fmax", "Fmin", "Logaddexp"),
        *("Glu", "Softshrink", "Hardshrink", "LogSigmoid"),
    ]
)
"""Operations that suppress a part of their input, and to which no rule applies."""

CHOICES = {"Where": "_saved_condition", "MaskedFill": "_saved_mask"}
"""Operations that choose by a condition. The condition of an activation has the output's shape, a
mask of the model's own mostly has fewer axes."""

SQUASHING = frozenset(
    [
        *("Sigmoid", "Tanh", "Erf", "Exp", "Hardsigmoid", "Hardtanh"),
        *("Clamp", "ClampMin", "NormalCdf", "Relu"),
    ]
)
"""The factors of a value in a written-out SiLU, GELU, Mish or Hardswish."""

NEAR = 24
"""The number of operations that are searched for the origin of a factor."""


def written_out(node: Any) -> str | None:
    """Return the reason to suspect that this operation is a decomposed activation, or None."""
    kind = kind_of(node)
    if isinstance(node, BackwardCFunction):
        return kind.removesuffix("Backward")
    if kind in SUSPECTS:
        return kind.lower()
    if kind in CHOICES:
        return kind.lower() if getattr(node, CHOICES[kind]).shape == shapes_of(node)[0] else None
    if kind in ("Amax", "Max"):
        return _maxout(node)
    if kind in ("Clamp", "ClampMax"):  # what is subtracted from its input leaves a ReLU
        least = None if kind == "ClampMax" else node._saved_min
        return "clamp" if least is None and _is_zero(node._saved_max, node) else None
    if kind in ("Log", "Log1P"):
        exponential = any(kind_of(each) == "Exp" for each, _ in _made_of(node, 0))
        return kind.lower() if exponential else None
    if (kind == "Mul" and _is_masked(node)) or (kind in ("Mul", "Div") and _is_self_gated(node)):
        return kind.lower()
    return None


def _maxout(node: Any) -> str | None:
    """True if a maximum is one over channels, put in an axis of their own by a stack or a view."""
    before, place = node.next_functions[0]
    source = None if before is None else kind_of(before)
    if source == "Stack":
        return f"{kind_of(node).lower()} of a stack"
    if source not in ("View", "UnsafeView", "ReshapeAlias"):
        return None
    behind, number = before.next_functions[0]
    shape = shapes_of(before)[place]
    given: Sequence[int] = [] if behind is None else shapes_of(behind)[number]
    saved = node._saved_dim if hasattr(node, "_saved_dim") else ()
    axes = [saved] if isinstance(saved, int) else list(saved)
    split = len(given) > 1 and any(
        given[0] <= prod(shape[:axis]) and prod(shape[: axis + 1]) <= prod(given[:2])
        for axis in (signed_axis(each) % len(shape) for each in axes)
        if shape[axis] > 1 and list(shape[: axis + 1]) != list(given[: axis + 1])
    )
    return f"{kind_of(node).lower()} of a view" if split else None


def _is_masked(node: Any) -> bool:
    """Return True if a factor is a constant of zeros and ones that has the output's shape."""
    if not hasattr(node, "_saved_self"):  # in TorchScript, a product with a number
        return False
    factors = (node._saved_self, node._saved_other)
    return any(
        isinstance(factor, Tensor)
        and before is None
        and factor.shape == shapes_of(node)[0]
        and bool(((factor == 0) | (factor == 1)).all() and factor.any())
        for factor, (before, _) in zip(factors, node.next_functions, strict=True)
    )


def _is_self_gated(node: Node) -> bool:
    """Return True if both factors are elementwise functions of one value, and one is squashing."""
    factors = [set(_made_of(before, number)) for before, number in node.next_functions if before]
    if len(factors) < 2 or not factors[0] & factors[1]:
        return False
    own = factors[0] ^ factors[1]
    return any(kind_of(each) in SQUASHING for each, _ in own)


def _made_of(node: Node, number: int) -> Iterator[tuple[Node, int]]:
    """Yield the elementwise operations behind a value, and the operation that they begin with."""
    shape = shapes_of(node)[number]
    waiting = [(node, number)]
    for _ in range(NEAR):
        if not waiting:
            return
        node, number = waiting.pop(0)
        yield node, number
        if kind_of(node) not in WEIGHTS:
            waiting += (
                (before, nr)
                for before, nr in node.next_functions
                if before is not None and shapes_of(before)[nr : nr + 1] == [shape]
            )
