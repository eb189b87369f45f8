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
    """True if the target is a class; otherwise it is an array of the output's shape."""
    value: Callable[[Tensor, Tensor], Tensor]
    """`(y [C, H, W], target of the same shape) -> L`; a class comes as its one-hot planes."""
    slope: Callable[[Tensor, Tensor], Tensor]
    """`(y, target) -> ∂L/∂y`, of the shape of y."""


def _cross_entropy(y: Tensor, target: Tensor) -> Tensor:
    """Compute L = the mean over the pixels of −log softmax(y)_k, at the class k."""
    chosen = y.log_softmax(0).where(target != 0, 0)  # a class that is impossible elsewhere is Inf
    return -chosen.sum(0).mean()


def _cross_entropy_slope(y: Tensor, target: Tensor) -> Tensor:
    return (y.softmax(0) - target) * (len(y) / y.numel())


def _squared(y: Tensor, target: Tensor) -> Tensor:
    """Compute L = mean((y − target)²)."""
    return (y - target).square().mean()


def _squared_slope(y: Tensor, target: Tensor) -> Tensor:
    return (y - target) * (2 / y.numel())


def _absolute(y: Tensor, target: Tensor) -> Tensor:
    """Compute L = mean(|y − target|)."""
    return (y - target).abs().mean()


def _absolute_slope(y: Tensor, target: Tensor) -> Tensor:
    """Compute the slope; 0 at pixels where y equals the target."""
    return (y - target).sign() / y.numel()


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("ce", "cross entropy", True, _cross_entropy, _cross_entropy_slope),
        Loss("mse", "mean squared error", False, _squared, _squared_slope),
        Loss("l1", "mean absolute error", False, _absolute, _absolute_slope),
    )
}
"""Every loss, by name."""
