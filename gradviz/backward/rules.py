"""The table of rules: what a backward pass does at an operation.

The literature changes the pass at activations (`activation_rules.py`), or replaces gradients by
shares of the score, layer by layer (`relevance/`). Every rule works on the autograd graph of a pass
that has run, below the model's code, so that all formats are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gradviz.backward import activation_rules
from gradviz.backward.graph import End
from gradviz.backward.relevance.hand_back import hand_back
from gradviz.backward.relevance.operands import OperandRecorder
from gradviz.backward.relevance.operation import Cause
from gradviz.backward.vjp import vjp
from gradviz.errors import ModelError


@dataclass(frozen=True)
class Way:
    """The way back through a forward pass that has way."""

    y: Tensor
    """The output [N, ...], with its graph."""
    end: End
    """The input, or the output of a layer."""
    operands: OperandRecorder | None = None
    """The values of its operations, if a rule reads them."""


@dataclass(frozen=True)
class Pulled:
    """The result of a backward pass."""

    gradient: Tensor
    """A gradient or relevance, of the shape of the end."""
    gated: int | None = None
    """The number of activations at which the rule held."""
    absorbed: dict[Cause, float] | None = None
    """The relevance that did not arrive, by what absorbed it."""
    notes: tuple[str, ...] = ()
    """Warnings for a reader of the result."""


@dataclass(frozen=True)
class BackwardRule:
    """One row of the table of rules."""

    name: str
    meaning: str
    pull: Callable[[Way, Tensor, bool], Pulled]
    """`(way, the cotangent of the shape of y, retain_graph) -> what arrives`."""
    linear: bool = True
    """True if the result for a sum of seeds is the sum of theirs."""
    reads_operands: bool = False
    """True if it reads what operations computed: the forward pass must record it."""


def _plain(way: Way, v: Tensor, retain_graph: bool) -> Pulled:
    return Pulled(vjp(way.y, way.end, v, retain_graph))


def _gated(attach: activation_rules.Attach, way: Way, v: Tensor, retain_graph: bool) -> Pulled:
    with activation_rules.rule_applied(way.y, attach) as coverage:
        gradient = vjp(way.y, way.end, v, retain_graph)
    return Pulled(gradient, gated=coverage.activations, notes=tuple(coverage.notes))


def _lrp(way: Way, v: Tensor, _retain_graph: bool) -> Pulled:
    assert way.operands is not None
    if v.dtype == torch.float16:
        raise ModelError("the range of float16 is too small for relevance: use --precision float32")
    y = way.y.detach()
    found = hand_back(way.y, way.end, torch.where(v != 0, v * y, 0), way.operands)
    return Pulled(found.relevance, absorbed=found.absorbed)


BACKWARD_RULES: dict[str, BackwardRule] = {
    rule.name: rule
    for rule in (
        BackwardRule("plain", "the derivative of each operation", _plain),
        BackwardRule(
            "guided",
            "negative gradients are cut before the activation's own derivative",
            partial(_gated, activation_rules.guided),
            linear=False,
        ),
        BackwardRule(
            "deconvnet",
            "the activation's derivative is replaced by cutting negative gradients",
            partial(_gated, activation_rules.deconvnet),
            linear=False,
        ),
        BackwardRule(
            "lrp",
            "each operation shares the score among its inputs",
            _lrp,
            reads_operands=True,
        ),
    )
}
"""Every rule, by name."""
