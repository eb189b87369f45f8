"""What the oracles of forward passes must find."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import gradviz as package
from tests.helpers.nets import Net
from tests.helpers.newer_torch import AMINMAX
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


LARGEST = (lambda x: x.aminmax(dim=3, keepdim=True)[1], (0, 0, 8, 1))
SECOND_OUTPUTS = {
    "mean beside the variance": (lambda x: torch.var_mean(x, 3, keepdim=True)[1], (0, 0, 8, 1)),
    "mean beside the deviation": (lambda x: torch.std_mean(x, 3, keepdim=True)[1], (0, 0, 8, 1)),
    **({"largest beside the least": LARGEST} if AMINMAX else {}),
    "second half": (lambda x: x.chunk(2, 3)[1], (4, 0, 5, 1)),
    "fifth row": (lambda x: x.unbind(2)[4][:, :, None], (0, 4, 1, 5)),
}


@pytest.mark.parametrize("name", SECOND_OUTPUTS)
def test_fields_of_second_outputs(name: str) -> None:
    function, box = SECOND_OUTPUTS[name]
    found = package.receptive_field(Net(function), torch.rand(3, 6, 8), [(0, 0)]).fields[0]
    assert (found.structural.status, found.structural.box) == ("exact", box)


def test_second_outputs_of_what_is_not_known_are_partial() -> None:
    net = Net(lambda x: torch.linalg.qr(x)[1])
    found = package.receptive_field(net, torch.rand(3, 6, 8), [(0, 0)]).fields[0]
    assert found.structural.status == "partial"
