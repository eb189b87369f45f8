"""The kinds of the outputs that seeds are put on."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class OutputKind(Enum):
    """A kind of output: see `output_kind` for what the rank of one image's share shows."""

    SCORES = "class scores [N, C]"
    DENSE = "a dense map [N, C, H, W] or [N, H, W]"
    ROWS = "rows of numbers [N, L, K]"
    OTHER = "an output of another rank"
    DETECTIONS = "detections of a detector"


def output_kind(y: Tensor) -> OutputKind:
    """Return the kind of one image's output.

    Args:
        y: the output without the batch axis.
    """
    kinds = {1: OutputKind.SCORES, 2: OutputKind.DENSE, 3: OutputKind.DENSE}
    return kinds.get(y.dim(), OutputKind.OTHER)


def planes_of(y: Tensor) -> Tensor:
    """Shape one image's output as [C, H, W]; class scores become [C, 1, 1].

    Args:
        y: the output without the batch axis.

    Returns:
        a view of `y`. An output of another rank is returned as it is: no seed reads it.
    """
    match y.dim():
        case 1:
            return y[:, None, None]
        case 2:
            return y[None]
        case _:
            return y
