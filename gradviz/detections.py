"""Detections: boxes, each with a class and a score, as one tensor that has a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

VALUE, SCORE, LABEL = 4, 5, 6
"""The columns of a packed detection after its box x0, y0, x1, y1."""

PACKED = 7
"""The number of columns of a packed detection."""


@dataclass(frozen=True)
class Detections:
    """The boxes that a detector suggests for N images, before gradviz chooses among them."""

    boxes: Tensor
    """[N, K, 4]: x0, y0, x1, y1 in pixels of the input."""
    values: Tensor
    """[N, K]: the number that the model gives the best class of each box."""
    scores: Tensor
    """[N, K]: the probability of that class, by which boxes are ranked."""
    labels: Tensor
    """[N, K]: the number of that class."""
    moving: bool = False
    """True if the model chooses among its boxes, so that another input gives other rows."""

    def packed(self) -> Tensor:
        """Put everything into one tensor [N, K, 7], in float32 at least.

        Ranks and classes have no gradient.
        """
        import torch

        exact = torch.promote_types(self.boxes.dtype, torch.float32)
        columns = [self.values, self.scores.detach(), self.labels]
        parts = [self.boxes, *(column.unsqueeze(-1) for column in columns)]
        return torch.cat([part.to(exact) for part in parts], -1)
