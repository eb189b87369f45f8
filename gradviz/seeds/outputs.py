"""The layouts of the outputs that seeds are put on."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Layout(Enum):
    """The kinds of output that seeds tell apart, by the rank of one image's share of it."""

    SCORES = "class scores [N, C]"
    DENSE = "a dense map [N, C, H, W] or [N, H, W]"
    OTHER = "an output of another rank"


def layout_of(y: Tensor) -> Layout:
    """The layout of one image's output `y` (without the batch axis)."""
    return {1: Layout.SCORES, 2: Layout.DENSE, 3: Layout.DENSE}.get(y.dim(), Layout.OTHER)


def planes_of(y: Tensor) -> Tensor:
    """One image's output `y`, shaped [C, H, W]; class scores become [C, 1, 1].

    An output of another rank is left as it is: no seed looks into it.
    """
    match y.dim():
        case 1:
            return y[:, None, None]
        case 2:
            return y[None]
        case _:
            return y
