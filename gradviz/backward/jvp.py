"""The Jacobian–vector product `J u`: how all outputs react to one change of the input.

It is the dual of `Jᵀ v`: ⟨J u, v⟩ = ⟨u, Jᵀ v⟩ for all u and v. Forward-mode automatic
differentiation computes it along with the output. Where an operation has no derivative in forward
mode, it is the derivative of Jᵀ v by v, in the direction u, of two backward passes.

Source:
    Griewank and Walther 2008, doi:10.1137/1.9780898717761; the two backward passes: Townsend 2017,
    https://j-towns.github.io/2017/06/12/A-new-trick.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gradviz.errors import MemoryShort, ModelError

Batched = Callable[[Tensor], Tensor]
"""A function of a batch, such as a model."""

LACKING = re.compile(r"forward AD with ([\w:.]+)|(custom autograd.Function)")
"""The name of an operation without a derivative in forward mode, in torch's message."""

Push = Callable[[Batched, Tensor, Tensor], Tensor]
"""`(function, x, u) -> J u`."""

AGREEMENT = 1e-2
"""The largest difference of ⟨J u, v⟩ and ⟨u, Jᵀ v⟩, as a share of |J u| at |v| near 1, in half
precision too."""


def find_way(call: Batched, x: Tensor) -> Push:
    """Find the way in which `J u` of a function is computed: in forward mode if that can be.

    A way counts if it agrees with the gradient in one random direction: ⟨J u, v⟩ = ⟨u, Jᵀ v⟩.
    Forward mode goes through parts of a model that run without gradients, and a backward pass that
    has no derivative may return zeros.

    Args:
        call: the function.
        x: an input [N, C, H, W].

    Raises:
        MemoryShort: there is too little memory.
        ModelError: neither way leads through; the message names the operation.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)

    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y = call(x)
    u, noise = draw(x), draw(y)
    first: Exception | None = None
    for way in (forward_jvp, backward_jvp):
        try:
            pushed = way(call, x.detach(), u)
        except MemoryShort:
            raise
        except Exception as error:  # whatever torch, or the model's own code, lacks
            first = first or error
            continue
        # Along J u, lest the product be lost among many outputs; the noise is for J u = 0.
        size = float(pushed.double().norm())
        v = noise if size == 0 else pushed / size + noise / noise.norm()
        (pulled,) = torch.autograd.grad(y, x, v, retain_graph=True)
        here = float((pushed.double() * v.double()).sum())
        there = float((u.double() * pulled.double()).sum())
        if abs(here - there) <= AGREEMENT * max(size, abs(there)):
            return way
    raise _refusal(first)


def forward_jvp(call: Batched, x: Tensor, u: Tensor) -> Tensor:
    """Compute `J u` in forward mode."""
    with forward_ad.dual_level(), _plain_attention():
        y = call(forward_ad.make_dual(x.detach(), u))  # type: ignore[no-untyped-call]
        output, tangent = forward_ad.unpack_dual(y)  # type: ignore[no-untyped-call]
        return torch.zeros_like(output) if tangent is None else tangent.detach()


def backward_jvp(call: Batched, x: Tensor, u: Tensor) -> Tensor:
    """Compute `J u` as the derivative of `Jᵀ v` by v."""
    x = x.detach().requires_grad_()
    with _plain_attention(), torch.enable_grad():
        y = call(x)
        v = torch.zeros_like(y).requires_grad_()
        (pulled,) = torch.autograd.grad(y, x, v, create_graph=True)
        if not pulled.requires_grad:
            return torch.zeros_like(y)
        (found,) = torch.autograd.grad(pulled, v, u, allow_unused=True)
    return torch.zeros_like(y) if found is None else found


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Compute attention by its formula: the fused kernels have no second derivatives."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield


def _refusal(error: Exception | None) -> ModelError:
    found = LACKING.search(f"{error} {error and error.__cause__}")
    what = f"its {found[1] or found[2]}" if found else "an operation of it"
    return ModelError(
        f"how the outputs react cannot be computed: {what} has no derivative in forward mode, nor "
        "has its gradient: ask what the output looks at"
    )
