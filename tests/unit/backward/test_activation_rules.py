"""Activations that are written out are noticed, and what only looks like them is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz as package
from gradviz.errors import ModelError
from tests.helpers.formats import compiled
from tests.helpers.nets import Net


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.relu()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def between(function: Callable[[Tensor], Tensor]) -> nn.Module:
    """An activation of torch's, and something between two convolutions."""
    torch.manual_seed(1)
    return Net(
        lambda x, first, second: second(function(first(x).relu() - 0.3)).mean((2, 3)),
        first=nn.Conv2d(3, 4, 3, padding=1),
        second=nn.Conv2d(4, 4, 1),
    )


WRITTEN_OUT: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "where": ("where", lambda h: torch.where(h > 0, h, torch.zeros_like(h))),
    "masked": ("maskedfill", lambda h: h.masked_fill(h < 0, 0)),
    "mask": ("mul", lambda h: h * (h > 0)),
    "mask of floats": ("mul", lambda h: (h > 0).float() * h),
    "silu": ("mul", lambda h: h * torch.sigmoid(h)),
    "swish": ("mul", lambda h: torch.sigmoid(1.7 * h) * h),
    "hardswish": ("mul", lambda h: h * F.relu6(h + 3) / 6),
    "gelu": ("mul", lambda h: 0.5 * h * (1 + torch.tanh(0.8 * (h + 0.045 * h**3)))),
    "mish": ("mul", lambda h: h * torch.tanh(F.softplus(h))),
    "glu": ("glu", lambda h: F.glu(torch.cat([h, h], 1), 1)),
    "softshrink": ("softshrink", lambda h: F.softshrink(h, 0.1)),
    "hardshrink": ("hardshrink", lambda h: F.hardshrink(h, 0.1)),
    "stack": ("amax of a stack", lambda h: torch.stack([h, torch.zeros_like(h)]).amax(0)),
    "maxout": ("maximum", lambda h: torch.maximum(h, h.roll(1, 1))),
    "softplus": ("logaddexp", lambda h: torch.logaddexp(h, torch.zeros(()))),
    "what a clamp from above leaves": ("clamp", lambda h: h - h.clamp(max=0)),
    "clamp_max": ("clamp", lambda h: h - h.clamp_max(0)),
    "silu by division": ("div", lambda h: h / (1 + (-h).exp())),
    "silu by a reciprocal": ("mul", lambda h: h * (1 + (-h).exp()).reciprocal()),
    "softplus by log1p": ("log1p", lambda h: h.exp().log1p()),
    "softplus by log": ("log", lambda h: (1 + h.exp()).log()),
    "maxout by a view": (
        "amax of a view",
        lambda h: h.view(-1, 2, 2, 6, 6).amax(2).repeat(1, 2, 1, 1),
    ),
    "maxout by max": (
        "max of a view",
        lambda h: h.view(-1, 2, 2, 6, 6).max(1)[0].repeat(1, 2, 1, 1),
    ),
    "maxout of scores": (
        "amax of a view",
        lambda h: h * h.mean((2, 3)).view(-1, 2, 2).amax(-1)[:, :1, None, None],
    ),
    "a function of its own": ("_Own", lambda h: _Own.apply(h)),  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_what_may_be_an_activation_is_told(name: str) -> None:
    what, function = WRITTEN_OUT[name]
    (found,) = package.saliency(between(function), torch.rand(3, 6, 6), "class:0", method="guided")
    assert any(f"not hold at: {what};" in warning for warning in found.warnings), found.warnings


def attends(h: Tensor) -> Tensor:
    """Channels weighted by a squeeze of all places, as in SE blocks."""
    return h * torch.sigmoid(h.mean((2, 3), keepdim=True) * 2)


ARITHMETIC: dict[str, Callable[[Tensor], Tensor]] = {
    "squeeze and excitation": attends,
    "another convolution gates": lambda h: h * F.conv2d(h, torch.ones(4, 4, 1, 1)).sigmoid(),
    "halves": lambda h: h[:, :2].sigmoid().repeat(1, 2, 1, 1) * h[:, 2:].tanh().repeat(1, 2, 1, 1),
    "chunks": lambda h: torch.cat([a.sigmoid() * b for a, b in [h.chunk(2, 1)]] * 2, 1),
    "square": lambda h: h * h,
    "a mask of the model's own": lambda h: h * (torch.arange(6) % 2),
    "a constant choice": lambda h: torch.where(torch.arange(6) % 2 == 0, h, 0.0),
    "length one": lambda h: F.normalize(h, dim=1),
    "skip": lambda h: h + F.relu(h),
    "symmetric": lambda h: F.hardtanh(h).tanh(),
    "a bound above 0": lambda h: h.clamp(max=1),
    "a bound on both sides": lambda h: h.clamp(-1, 0),
    "norm": lambda h: h / (1e-5 + h.square().mean((2, 3), keepdim=True)).sqrt(),
    "softmax": lambda h: h.exp() / h.exp().sum(1, keepdim=True),
    "log of sums": lambda h: h + h.exp().sum(1, keepdim=True).log(),
    "log": lambda h: (1 + h.square()).log(),
    "softsign": lambda h: h / (1 + h.abs()),
    "global pooling by a view": lambda h: h * h.flatten(2).amax(-1)[..., None, None],
    "pooling by a view": lambda h: h.view(-1, 4, 3, 2, 6).amax(3),
    "the largest channel": lambda h: h + h.amax(1, keepdim=True),
    "the largest": lambda h: h + h.amax((2, 3), keepdim=True),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_is_left_alone(name: str) -> None:
    net = between(ARITHMETIC[name])
    (found,) = package.saliency(net, torch.rand(3, 6, 6), "class:0", method="guided")
    told = [warning for warning in found.warnings if "not hold at" in warning]
    assert told == [] and found.gated == 1 + (name == "skip")


def test_where_nothing_else_is_an_activation_the_refusal_names_them() -> None:
    only = Net(lambda x: torch.where(x > 0.5, x, torch.zeros_like(x)))
    with pytest.raises(ModelError, match=r"no activation.*where may be some"):
        package.saliency(only, torch.rand(1, 4, 4), "ones", method="guided")


def test_a_bound_that_is_learned_or_larger_is_none() -> None:
    def bound(x: Tensor) -> Tensor:
        y = torch.maximum(x.relu(), torch.zeros(5, *x.shape[1:]))
        return torch.maximum(y, 0 * x).sum(0, keepdim=True)

    (found,) = package.saliency(Net(bound), torch.rand(1, 4, 4), "ones", method="deconvnet")
    assert found.gated == 1 and any("2 operations" in told for told in found.warnings)


def test_a_product_with_a_number_is_no_mask_in_torchscript() -> None:
    x = torch.tensor([[[-1.0, 2.0]]])
    (found,) = package.saliency(compiled("9 * x.relu()"), x, "ones", method="guided")
    assert found.array.tolist() == [[[0, 9]]] and found.warnings == ()
