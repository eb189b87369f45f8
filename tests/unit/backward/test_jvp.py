"""J u: closed forms, finite differences, and the two ways in which it is computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradviz
from gradviz.backward.jvp import backward_jvp, find_way, forward_jvp
from gradviz.errors import ModelError
from gradviz.model.model import Model
from tests.helpers.nets import Net, dense


class Sine(torch.autograd.Function):
    """A function without a derivative in forward mode."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        product: Tensor = gradient * x.cos()
        return product


class SineOnce(Sine):
    """One whose gradient has no derivative either."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        product: Tensor = gradient * x.cos()
        return product


def partly_frozen(x: Tensor) -> Tensor:
    """2x without a gradient, and x with one."""
    with torch.no_grad():
        twice = 2 * x
    return twice + x


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    return Net(lambda x, layer: layer(x.flatten(2).transpose(1, 2)), layer=layer)


def drawn(*shape: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)


def model_of(net: nn.Module) -> Model:
    return gradviz.wrap(net, precision="float64")


def pulled_back(model: Model, x: Tensor, v: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x), x, v)
    return gradient


@pytest.mark.parametrize("way", [forward_jvp, backward_jvp])
def test_it_is_the_slope_of_the_outputs_along_u(way: Any) -> None:
    net = dense().double()
    x, u = drawn(1, 3, 16, 12)
    step = 1e-6
    with torch.no_grad():
        expected = (net(x + step * u) - net(x - step * u)) / (2 * step)
    found = way(model_of(net), x, u)
    assert (found - expected).norm() <= 1e-6 * expected.norm()


def test_a_function_without_a_derivative_in_forward_mode_takes_two_backward_passes() -> None:
    model = model_of(Net(lambda x: Sine.apply(x)))  # type: ignore[no-untyped-call]
    x, u = drawn(1, 3, 4, 5)
    with pytest.raises(ModelError, match="jvp"):
        forward_jvp(model, x, u)
    way = find_way(model, x)
    assert way is backward_jvp
    assert torch.allclose(way(model, x, u), u * x.cos(), rtol=1e-12)


def test_a_part_without_gradients_is_left_out_as_gradients_leave_it_out() -> None:
    model = model_of(Net(partly_frozen))
    x, u = drawn(1, 3, 4, 5)
    assert torch.allclose(forward_jvp(model, x, u), 3 * u)
    way = find_way(model, x)
    assert torch.allclose(way(model, x, u), u)


def test_what_has_no_derivative_at_all_is_refused_by_name() -> None:
    model = model_of(Net(lambda x: SineOnce.apply(x)))  # type: ignore[no-untyped-call]
    x, _ = drawn(1, 3, 4, 5)
    with pytest.raises(ModelError, match=r"its custom autograd\.Function has no derivative"):
        find_way(model, x)


def test_the_fused_layer_of_a_transformer_goes_backward() -> None:
    """torch has no derivative of `_transformer_encoder_layer_fwd` in forward mode."""
    model = model_of(attention())
    x, u = drawn(1, 8, 3, 4)
    way = find_way(model, x)
    pushed = way(model, x, u)
    _, v = drawn(*pushed.shape)
    there = (u * pulled_back(model, x, v)).sum()
    assert float((pushed * v).sum()) == pytest.approx(float(there), rel=1e-10)


def test_an_output_that_does_not_react_is_0() -> None:
    model = model_of(Net(lambda x: torch.relu(x - 5)))
    x, u = drawn(1, 3, 4, 5)
    way = find_way(model, x)
    assert not way(model, x, u).any()
