"""The table of losses, and the cotangent of each.

The gradient of a loss is a seed as well: with v = ∂L/∂y, Jᵀ v is the gradient of the loss at the
input. Each loss is a mean over one image's output, as torch's loss functions are by default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """One row of the table of losses."""

    name: str
    meaning: str
    by_class: bool
    """True if the target is a class; otherwise it is a file of the output's shape."""
    slope: Callable[[Tensor, Tensor], Tensor]
    """`(y [C, H, W], target of the same shape) -> ∂L/∂y`; a class comes as its one-hot planes."""


def _cross_entropy(y: Tensor, target: Tensor) -> Tensor:
    """Compute the slope of L = the mean over the pixels of −log softmax(y)_k, at the class k."""
    return (y.softmax(0) - target) * (len(y) / y.numel())


def _squared(y: Tensor, target: Tensor) -> Tensor:
    """Compute the slope of L = mean((y − target)²)."""
    return (y - target) * (2 / y.numel())


def _absolute(y: Tensor, target: Tensor) -> Tensor:
    """Compute the slope of L = mean(|y − target|); 0 at pixels where y equals the target."""
    return (y - target).sign() / y.numel()


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("ce", "cross entropy", True, _cross_entropy),
        Loss("mse", "mean squared error", False, _squared),
        Loss("l1", "mean absolute error", False, _absolute),
    )
}
"""Every loss, by name."""
