"""How far parts may differ from the whole before a model is not cut into tiles."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

import gradviz
from gradviz.errors import UsageError
from gradviz.field.axis import Axis
from gradviz.field.tiles import GridAxis, OutputGrid
from gradviz.field.trial import NotTileable, _close, _compare_parts
from tests.helpers.nets import Net


def test_what_is_not_finite_is_not_close() -> None:
    one, nan = torch.ones(4), torch.full((4,), torch.nan)
    assert _close(one, one, 1e-9)
    for got, expected in ((nan, one), (one, nan), (nan, nan), (one * torch.inf, one)):
        assert not _close(got, expected, 1.0)


@pytest.mark.parametrize("share, told", [(0.0, False), (1e-4, True)])
def test_a_ten_thousandth_that_depends_on_the_place_is_noticed(share: float, told: bool) -> None:
    """The output of a float64 trial; a hundredth would pass for rounding of nothing."""

    def moved(x: Tensor, conv: nn.Module) -> Tensor:
        y: Tensor = conv(x)
        return y + share * torch.linspace(0, 1, y.shape[3]).to(y) if share else y

    net = Net(moved, conv=nn.Conv2d(3, 1, 3, padding=1))
    image = torch.rand(3, 64, 64)
    if told:
        with pytest.raises(UsageError, match="depends on where in the image"):
            gradviz.saliency(net, image, "ones", tile=32)
    else:
        (found,) = gradviz.saliency(net, image, "ones", tile=32)
        assert found.tiles == 4


@pytest.mark.parametrize("share, told", [(0.0, False), (1e-12, False), (1e-8, True), (1e-3, True)])
def test_parts_are_compared_far_below_a_hundredth(share: float, told: bool) -> None:
    """In float64, where what rounding leaves is 1e-15 or so."""

    def shifted(x: Tensor, conv: nn.Module) -> Tensor:
        y: Tensor = conv(x)
        return y * (1 + share * (x.shape[3] == 24))

    net = Net(shifted, conv=nn.Conv2d(3, 1, 3, padding=1))
    model = gradviz.wrap(net, precision="float64")
    side = GridAxis(Axis((-1,), (1,), 1), 24, 24)
    x = torch.rand(1, 3, 24, 24, dtype=torch.float64)
    expected = pytest.raises(NotTileable, match="depends on where") if told else nullcontext()
    with expected:
        _compare_parts(model, x, OutputGrid(side, side), [(8, 8, 12, 12)])
