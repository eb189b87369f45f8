"""The vector–Jacobian product `Jᵀ v = ∂⟨v, y⟩/∂x`, on which everything else is built.

It is what reverse-mode automatic differentiation computes (Griewank and Walther 2008,
doi:10.1137/1.9780898717761).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradviz.backward.graph import End
from gradviz.errors import ModelError

LARGEST_SCALE, LEAST_SCALE = 2.0**15, 2.0**-20
"""The first and the last scale of a float16 cotangent's largest value; the first is below the
largest float16."""
STEP = 2.0**-5
"""The factor by which the scale shrinks if a gradient overflows."""


def vjp(y: Tensor, x: End, v: Tensor, retain_graph: bool = False) -> Tensor:
    """Pull a cotangent back through the pass that computed `y` from `x`.

    Unlike `torch.func.vjp`, it takes a pass that has run, not a function.

    Args:
        y: the output `[N, ...]`, computed with gradients enabled.
        x: the input `[N, C, H, W]`, which requires a gradient, or the output of a layer.
        v: the cotangent, of the shape of `y`.
        retain_graph: True if another cotangent will be pulled back through the same pass.

    Returns:
        the gradient of `⟨v, y⟩` with respect to `x`, of the shape of `x`. A pass in float16 gives
        float32: float16 holds no number below 6e-8, so the cotangent is scaled by a power of two on
        the way, as large as the gradients allow (Micikevicius et al. 2018, arXiv:1710.03740).

    Raises:
        ModelError: no path leads from `y` back to `x`.
    """
    if v.dtype != torch.float16:
        return _pulled(y, x, v, retain_graph)
    largest = float(v.abs().max())
    scale = 2.0 ** math.floor(math.log2(LARGEST_SCALE / largest)) if 0 < largest < math.inf else 1.0
    while scale > LEAST_SCALE:
        gradient = _pulled(y, x, v * scale, retain_graph=True).float() / scale
        if gradient.isfinite().all():
            return gradient
        scale *= STEP
    return _pulled(y, x, v, retain_graph).float()


def _pulled(y: Tensor, x: End, v: Tensor, retain_graph: bool) -> Tensor:
    # As `grad_outputs`, v would make torch import SymPy first, half a second of a short command.
    seeded = (y * v).sum()
    (gradient,) = torch.autograd.grad(seeded, x, retain_graph=retain_graph, allow_unused=True)
    if gradient is None:
        place = "image" if isinstance(x, Tensor) else "layer"
        raise ModelError(
            f"the output cannot be differentiated: no path leads from it back to the {place}, as "
            "after detach() or under no_grad()"
        )
    return gradient


def product(v: Tensor, y: Tensor) -> Tensor:
    """Multiply v and y in float64, elementwise.

    Args:
        v: the cotangent.
        y: the output, of the same shape. It may be Inf where v is 0.

    Returns:
        v · y, of the same shape, float64.
    """
    return torch.where(v != 0, v.double() * y.double(), 0)


def inner(v: Tensor, y: Tensor) -> float:
    """Compute ⟨v, y⟩ in float64; v and y have the same shape."""
    return float(product(v, y).sum())
