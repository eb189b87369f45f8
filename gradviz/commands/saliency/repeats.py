"""Whether a model gives the same answer twice, without which a gradient describes one call only."""

from __future__ import annotations

from torch import Tensor

from gradviz.model.model import Model
from gradviz.model.outputs import changed

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
            change = changed(y, model(x))
            self._notes = () if change is None else (_WARNING.format(change),)
        return self._notes or ()


_WARNING = (
    "the model answers otherwise when it is called again: {}; the gradient is that of one call: "
    "call eval() before saving the model, and look for what it draws or remembers"
)
