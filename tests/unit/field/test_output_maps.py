"""Outputs of three axes: a map, or rows of numbers, by the pass and by their sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradviz
from gradviz.errors import SeedError, UsageError
from gradviz.layout import are_squares


class Decoded(nn.Module):
    """A linear layer on the whole image makes an output of any sides: the pass shows no places."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shape = rows, columns
        self.decode = nn.Linear(3 * 16 * 24, rows * columns)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.decode(x.flatten(1)).unflatten(1, self.shape)
        return y


class Tokens(nn.Module):
    """Scores of each token, or a map of one channel."""

    def __init__(self, as_map: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.as_map = nn.Conv2d(3, 5, 4, 4), as_map

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.patches(x)
        return y.sum(1)[:, 1:, 2:] if self.as_map else y.flatten(2).transpose(1, 2)


IMAGE = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(0))
OF_MAPS = ("pixel:1,1", "region:0,0,1,1", "class:0", "channel:0", "top")


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((16, 24), True),
        ((8, 12), True),
        ((4, 6), True),
        ((5, 7), True),  # squares of 3 pixels, and a rest
        ((6, 4), False),
        ((2, 12), False),
        ((24, 16), False),
        ((1, 1), True),
        ((0, 3), False),
    ],
)
def test_sides_of_the_image_made_smaller(sides: tuple[int, int], expected: bool) -> None:
    assert are_squares(*sides, 16, 24) == expected


def test_a_map_by_its_sides() -> None:
    net = Decoded(8, 12)
    (found,) = gradviz.saliency(net, IMAGE, "pixel:3,2")
    row = net.decode.weight[2 * 12 + 3].detach().view(3, 16, 24).numpy()
    np.testing.assert_allclose(found.array, row, rtol=1e-6)
    assert not gradviz.saliency(net, IMAGE)[0].warnings


def test_other_sides_fit_two_readings() -> None:
    net = Decoded(6, 20)
    for seed in OF_MAPS:
        with pytest.raises(SeedError, match=f"seed {seed}: .* a map of 20x6 pixels and 6 rows of"):
            gradviz.saliency(net, IMAGE, seed)
    (found,) = gradviz.saliency(net, IMAGE, "pixel:3,2", layout="nchw")
    row = net.decode.weight[2 * 20 + 3].detach().view(3, 16, 24).numpy()
    np.testing.assert_allclose(found.array, row, rtol=1e-6)
    with pytest.raises(UsageError, match=r"is no map: it fits two readings.*--layout nchw"):
        gradviz.receptive_field(net, input_size=(24, 16))


def test_rows_are_added_up_with_a_warning() -> None:
    (found,) = gradviz.saliency(Decoded(6, 20), IMAGE)
    assert found.seed == "ones"
    (warning,) = found.warnings
    assert warning.startswith("all numbers of the output [6, 20] are added up")


def test_the_pass_decides_where_it_shows_the_places() -> None:
    """The map is cropped to other sides than the image's, and the tokens have its sides."""
    (found,) = gradviz.saliency(Tokens(True), IMAGE, "pixel:0,0")
    y, x = (axis.tolist() for axis in np.nonzero(np.abs(found.array).sum(0)))
    assert (min(x), max(x), min(y), max(y)) == (8, 11, 4, 7)
    square = torch.rand(3, 20, 20)  # 25 tokens of 5 numbers
    for image, net in ((IMAGE, Tokens(False)), (square, Tokens(False))):
        for seed in OF_MAPS:
            with pytest.raises(SeedError, match="lie otherwise than in the rows and columns"):
                gradviz.saliency(net, image, seed)
        with pytest.raises(SeedError, match="lie otherwise"):
            gradviz.saliency(net, image, "pixel:0,0", layout="nchw")
