"""How a gradient becomes an attribution: the table of methods.

A method is a name for a combination of independent choices. To add one, write a row of `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Method:
    """One row of the table of methods."""

    name: str
    meaning: str
    writes: str
    """What its array is, and so its file's name: `gradient` or `attribution`."""
    finish: Callable[[Tensor, Tensor], Tensor]
    """`(x [N, C, H, W], gradient of the same shape) -> the array of the same shape`."""


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "gradient",
            "x.grad itself: how the seeded output would change (Simonyan et al. 2013)",
            "gradient",
            lambda x, gradient: gradient,
        ),
        Method(
            "input-x-gradient",
            "input times gradient, a first-order share of the output (Shrikumar et al. 2016)",
            "attribution",
            lambda x, gradient: x.detach() * gradient,
        ),
    )
}
"""Every method, by name, in the order of the documentation."""
