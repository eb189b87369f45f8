"""The vector–Jacobian product in half precision: scaled on the way, so that nothing underflows."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from gradviz.backward.vjp import vjp


def chain(x: Tensor, factors: list[float]) -> Tensor:
    for factor in factors:
        x = x * factor
    return x


@pytest.mark.parametrize(
    "factors, v",
    [
        ([1e-3, 1e-3, 1e-2], 1.0),  # 1e-8 is below the least float16, 6e-8
        ([1e-3, 1e-3, 1e-2], 2.0**-10),
        ([300.0, 300.0], 0.5),  # scaled to the full, this overflows
        ([3.0], 6e4),
        ([3.0], 0.0),
        ([1e-2, -1e-2], -3.0),
    ],
)
def test_the_product_survives_float16(factors: list[float], v: float) -> None:
    x = torch.tensor([1.0, -2.0], dtype=torch.float16, requires_grad=True)
    y = chain(x, factors)
    gradient = vjp(y, x, torch.full_like(y, v))
    expected = v * torch.tensor(factors, dtype=torch.float64).prod()
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(gradient.double(), expected.expand(2), rtol=3e-3, atol=0)


def test_plain_float16_gives_zeros() -> None:
    """The case for scaling: what torch makes of the first case above."""
    x = torch.tensor([1.0], dtype=torch.float16, requires_grad=True)
    y = chain(x, [1e-3, 1e-3, 1e-2])
    assert not torch.autograd.grad(y, x, torch.ones_like(y))[0].any()
    assert vjp(chain(x, [1e-3, 1e-3, 1e-2]), x, torch.ones_like(y)).item() > 0


def test_what_is_not_finite_at_any_scale_stays() -> None:
    x = torch.tensor([1.0, 0.0], dtype=torch.float16, requires_grad=True)
    y = x.sqrt()
    assert vjp(y, x, torch.ones_like(y)).tolist() == [0.5, float("inf")]


@pytest.mark.process
def test_a_short_command_does_not_wait_for_sympy() -> None:
    """Nothing of one pass needs it, and it takes half a second to import."""
    script = (
        "import sys, torch; from gradviz.backward.vjp import vjp; "
        "x = torch.ones(2, requires_grad=True); "
        "print(vjp(3 * x, x, torch.tensor([1.0, 2.0])).tolist(), 'sympy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[3.0, 6.0] False\n"
