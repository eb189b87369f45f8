"""The layouts of the outputs that seeds are put on."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Layout(Enum):
    """The kinds of output, by the rank of one image's share of it."""

    SCORES = "class scores [N, C]"
    DENSE = "a dense map [N, C, H, W] or [N, H, W]"
    OTHER = "an output of another rank"


def layout_of(y: Tensor) -> Layout:
    """Return the layout of one image's output.

    Args:
        y: the output without the batch axis.
    """
    return {1: Layout.SCORES, 2: Layout.DENSE, 3: Layout.DENSE}.get(y.dim(), Layout.OTHER)


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
