"""What the oracles of forward passes must find."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.helpers.probing import Call, nan_probed, perturbed, structural


def test_what_a_convolution_looks_at() -> None:
    """The oracles themselves, against the definition of a convolution with one zero weight."""
    weight = torch.tensor([[[1.0, 0.0, 2.0]]])
    x = torch.rand(1, 1, 5)
    windows = [[abs(i - o) <= 1 for i in range(5)] for o in range(5)]
    holes = [[abs(i - o) == 1 for i in range(5)] for o in range(5)]

    def convolution(x: Tensor) -> Tensor:
        return F.conv1d(x, weight, padding=1)

    assert nan_probed(convolution, x).tolist() == windows
    assert perturbed(convolution, x).tolist() == holes
    assert structural(convolution, x)[0].tolist() == windows


@pytest.mark.parametrize("hidden", [torch.relu, F.hardtanh, lambda x: x.clamp(-1, 1)])
def test_perturbing_sees_through_saturation(hidden: Call) -> None:
    assert perturbed(hidden, torch.rand(1, 1, 4)).tolist() == torch.eye(4).bool().tolist()
