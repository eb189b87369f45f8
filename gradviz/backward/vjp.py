"""The one idea: a vector–Jacobian product, `Jᵀ v = ∂⟨v, y⟩/∂x`."""

from __future__ import annotations

import torch
from torch import Tensor


def vjp(y: Tensor, x: Tensor, v: Tensor, keep: bool = False) -> Tensor:
    """Pull a cotangent back through the pass that computed `y` from `x`.

    Args:
        y: the output `[N, ...]`, computed with gradients enabled.
        x: the input `[N, C, H, W]`, which requires a gradient.
        v: the cotangent, of the shape of `y`.
        keep: whether another cotangent is going to be pulled back through the same pass.

    Returns:
        the gradient of `⟨v, y⟩` with respect to `x`, of the shape of `x`; zeros where `y` does not
        depend on `x`.
    """
    (gradient,) = torch.autograd.grad(
        y, x, grad_outputs=v, retain_graph=keep, allow_unused=True, materialize_grads=True
    )
    return gradient
