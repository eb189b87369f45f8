"""What the backward pass does at an activation: the rules `guided` and `deconvnet`.

An activation is a node of the autograd graph, so a rule is two hooks on it: no surgery on the
model, the same in every format, and a function, an in-place write or one module that is called
twice are as good as any other activation. For ReLU the rules are those of the literature; for the
other activations they are the same words: `guided` lets only positive gradients into the
activation's own derivative, `deconvnet` puts that in the derivative's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradviz.backward.graph import WRITE, kind_of, nodes_of
from gradviz.errors import ModelError

ACTIVATIONS = frozenset(
    [
        *("Relu", "Hardtanh", "Threshold", "LeakyRelu", "PreluKernel", "RreluWithNoise"),
        *("Elu", "Celu", "Selu", "Gelu", "Silu", "Mish", "Softplus", "Hardswish"),
    ]
)
"""The nodes of activations that rectify, hard or soft. ReLU6 is a Hardtanh, SELU and CELU are ELUs
to autograd. Sigmoid and tanh pass both signs of their input alike, and are left alone."""

Gradients = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Gate:
    """One row of the table of rules."""

    name: str
    meaning: str
    attach: Callable[[Any], Any]
    """Puts the hook on an activation's node, and returns what takes it off again."""


def _rectified(gradients: Sequence[Tensor | None]) -> Gradients:
    # NaN stays NaN: it must be seen in the picture, not rectified away.
    return tuple(None if gradient is None else gradient.clamp(min=0) for gradient in gradients)


def _replaced(inputs: Sequence[Tensor | None], outputs: Sequence[Tensor | None]) -> Gradients:
    # The activation's input comes first; a slope that is learned is a parameter.
    return (*_rectified(outputs[:1]), *inputs[1:])


GATES: dict[str, Gate] = {
    gate.name: gate
    for gate in (
        Gate(
            "guided",
            "negative gradients are cut before the activation's own derivative",
            lambda node: node.register_prehook(_rectified),
        ),
        Gate(
            "deconvnet",
            "the activation's derivative is replaced by cutting negative gradients",
            lambda node: node.register_hook(_replaced),
        ),
    )
}
"""Every rule at activations, by name. `plain` is the absence of one."""


@dataclass(frozen=True)
class Gated:
    """What a rule found in the graph of a pass."""

    activations: int
    """How many it holds at."""
    hidden: int
    """Writes into a part of a tensor: what wrote there autograd does not tell, so an activation
    among them is not gated."""


@contextmanager
def gating(y: Tensor, rule: str) -> Iterator[Gated]:
    """While this lasts, backward passes from `y` follow the rule, a name of `GATES`.

    Raises:
        ModelError: no activation leads to `y`, so the rule would be the plain gradient.
    """
    kinds = [(node, kind_of(node)) for node in nodes_of(y)]
    activations = [node for node, kind in kinds if kind in ACTIVATIONS]
    if not activations:
        raise ModelError(
            f"the rule {rule} finds no activation in the model's graph (ReLU, GELU, SiLU, …): use "
            "the method gradient"
        )
    handles = [GATES[rule].attach(node) for node in activations]
    try:
        yield Gated(len(activations), sum(kind == WRITE for _, kind in kinds))
    finally:
        for handle in handles:
            handle.remove()
