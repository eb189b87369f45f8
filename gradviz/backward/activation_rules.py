"""The rules `guided` and `deconvnet`, which change the backward pass at activations.

An activation is a node of the autograd graph, so a rule is a hook on that node. The model stays as
it is, and a rule works alike in every format, for functions, in-place operations and modules that
are called twice. For ReLU the rules are those of the literature. For the other activations they are
extended: `guided` multiplies the positive part of the gradient by the activation's own derivative,
`deconvnet` puts the positive part in the derivative's place.

Sources:
    guided: Springenberg, Dosovitskiy, Brox and Riedmiller 2014, arXiv:1412.6806
    deconvnet: Zeiler and Fergus 2013, arXiv:1311.2901
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradviz.backward.activations import rectifies, written_out
from gradviz.backward.graph import WRITE, kind_of, nodes_of
from gradviz.errors import ModelError

Gradients = tuple[Tensor | None, ...]

Attach = Callable[[Any], Any]
"""`(an activation's node) -> the handle to remove the hook that was put there`."""


def guided(node: Any) -> Any:
    """Cut negative gradients before the activation's own derivative."""
    return node.register_prehook(_rectified)


def deconvnet(node: Any) -> Any:
    """Cut negative gradients in place of the activation's derivative."""
    return node.register_hook(_replaced)


def _rectified(gradients: Sequence[Tensor | None]) -> Gradients:
    # NaN stays NaN: it must be visible in the picture, not rectified away.
    return tuple(None if gradient is None else gradient.clamp(min=0) for gradient in gradients)


def _replaced(inputs: Sequence[Tensor | None], outputs: Sequence[Tensor | None]) -> Gradients:
    # Only the activation's input has a gradient: a slope is a parameter, a bound is a constant.
    (replaced,) = _rectified(outputs)
    return tuple(None if gradient is None else replaced for gradient in inputs)


@dataclass(frozen=True)
class RuleCoverage:
    """The activations of a pass at which a rule holds, and those at which it may not."""

    activations: int
    """The number of activations at which it holds."""
    hidden: int
    """The number of writes into a part of a tensor. Autograd does not record which operation wrote
    there, so the rule does not hold at an activation among them."""
    suspects: Counter[str]
    """Operations that may be activations, written out or custom, at which the rule does not
    hold."""

    @property
    def notes(self) -> Iterator[str]:
        """Warnings for a reader of the result."""
        if self.hidden:
            yield (
                f"{self.hidden} writes into parts of a tensor hide what wrote them: an activation "
                "among them is not gated; let the model write to tensors of their own"
            )
        if self.suspects:
            yield (
                f"{self.suspects.total()} operations may be activations that the rule does not "
                f"hold at: {', '.join(self.suspects)}; write them as torch's own, such as relu or "
                "silu"
            )


@contextmanager
def rule_applied(y: Tensor, attach: Attach) -> Iterator[RuleCoverage]:
    """Make backward passes from `y` follow a rule while the block runs.

    Args:
        y: the output [N, ...], with its graph.
        attach: the rule: `guided` or `deconvnet`.

    Yields:
        the activations at which the rule holds.

    Raises:
        ModelError: no activation leads to `y`, so the rule would be the plain gradient.
    """
    nodes = nodes_of(y)
    activations = [node for node in nodes if rectifies(node)]
    suspects = Counter(filter(None, (written_out(node) for node in nodes if not rectifies(node))))
    if not activations:
        seen = f"; {', '.join(suspects)} may be some, written out" if suspects else ""
        raise ModelError(
            f"the rule {attach.__name__} finds no activation in the model's graph (ReLU, GELU, "
            f"SiLU, …){seen}: use the method gradient"
        )
    handles = [attach(node) for node in activations]
    try:
        yield RuleCoverage(
            len(activations), sum(kind_of(node) == WRITE for node in nodes), suspects
        )
    finally:
        for handle in handles:
            handle.remove()
