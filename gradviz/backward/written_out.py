"""Activations that a model writes out in other operations, as far as the graph tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from gradviz.backward.graph import kind_of, shapes_of
from gradviz.backward.keep import WEIGHTS

SUSPECTS = frozenset(
    [
        *("Maximum", "Minimum", "Fmax", "Fmin", "Logaddexp"),
        *("Glu", "Softshrink", "Hardshrink", "LogSigmoid"),
    ]
)
"""Operations that hold back some of their input, and are no activations with a rule."""

CHOICES = {"Where": "_saved_condition", "MaskedFill": "_saved_mask"}
"""Operations that choose by a condition: an activation's is of the output's shape, while a mask of
the model's own is mostly of fewer axes."""

SQUASHING = frozenset(
    ["Sigmoid", "Tanh", "Erf", "Hardsigmoid", "Hardtanh", "Clamp", "ClampMin", "NormalCdf", "Relu"]
)
"""What a value is multiplied with in a SiLU, GELU, Mish or Hardswish that is written out."""

NEAR = 24
"""How many operations are looked at for where two factors come from."""


def written_out(node: Any) -> str | None:
    """What the operation may be a written-out activation by; None where nothing speaks for it."""
    kind = kind_of(node)
    if isinstance(node, BackwardCFunction):
        return kind.removesuffix("Backward")
    if kind in SUSPECTS:
        return kind.lower()
    if kind in CHOICES:
        return kind.lower() if getattr(node, CHOICES[kind]).shape == shapes_of(node)[0] else None
    if kind in ("Amax", "Max"):
        before = node.next_functions[0][0]
        return f"{kind.lower()} of a stack" if before and kind_of(before) == "Stack" else None
    if kind == "Mul" and (_masks(node) or _gates_itself(node)):
        return "mul"
    return None


def _masks(node: Any) -> bool:
    """Whether it multiplies with zeros and ones, an each of its own for every value."""
    factors = (node._saved_self, node._saved_other)
    return any(
        isinstance(factor, Tensor)
        and before is None
        and factor.shape == shapes_of(node)[0]
        and bool(((factor == 0) | (factor == 1)).all() and factor.any())
        for factor, (before, _) in zip(factors, node.next_functions, strict=True)
    )


def _gates_itself(node: Node) -> bool:
    """Whether both factors are made, value by value, of the same, and one of them is squashed."""
    factors = [set(_made_of(before, number)) for before, number in node.next_functions if before]
    if len(factors) < 2 or not factors[0] & factors[1]:
        return False
    own = factors[0] ^ factors[1]
    return any(kind_of(each) in SQUASHING for each, _ in own)


def _made_of(node: Node, number: int) -> Iterator[tuple[Node, int]]:
    """The operations behind a value that work on each value by itself, and what they begin with."""
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
