"""Whether a model gives the same answer twice, without which a gradient describes one call only."""

from __future__ import annotations

import torch
from torch import Tensor

from gradviz.model.model import Model

LARGE = 1 << 20
"""Pixels of a batch from which running the model once more would take too long."""


class Repeats:
    """Runs the model on a run's first batch once more, and remembers what came of it."""

    def __init__(self) -> None:
        self._notes: tuple[str, ...] | None = None

    def notes(self, model: Model, x: Tensor, y: Tensor) -> tuple[str, ...]:
        """A warning if the model answers otherwise when it is called again.

        Random numbers go on where they are, so what draws them draws others.

        Args:
            x: [N, C, H, W], without a gradient.
            y: [N, ...], what the model has just answered.

        Raises:
            ModelError: it fails when it is called again.
        """
        if self._notes is None and x[:, 0].numel() <= LARGE:
            change = _change(y, model(x))
            self._notes = () if change is None else (_WARNING.format(change),)
        return self._notes or ()


_WARNING = (
    "the model answers otherwise when it is called again: {}; the gradient is that of one call: "
    "call eval() before saving the model, and look for what it draws or remembers"
)


def _change(y: Tensor, again: Tensor) -> str | None:
    """What differs between two answers by more than rounding does; None if nothing."""
    if y.shape != again.shape:
        return f"the output is {list(y.shape)}, then {list(again.shape)}"
    finite = y.isfinite()
    if not torch.equal(finite, again.isfinite()):
        return "other values are NaN or Inf"
    size, change = (
        float(values[finite].double().abs().max()) if finite.any() else 0.0
        for values in (y, y.double() - again.double())
    )
    # On some devices sums are not always added up in the same order.
    if change <= size * torch.finfo(y.dtype).eps ** 0.5:
        return None
    return f"the output changes by {change:.2g}, where the largest value is {size:.2g}"
