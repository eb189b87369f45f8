"""The numbers of an axis, by hand, where output pixels are one and a half input pixels apart."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

import gradviz
from gradviz.field.axis import Axis

AXIS = Axis(first=(-1, 0), last=(2, 3), shift=3)


def test_fractions_of_pixels_are_rounded_up() -> None:
    assert (AXIS.size, AXIS.stride) == (4, Fraction(3, 2))
    # Output pixel 0 covers 0 to 1.5, and begins 1 before; pixel 1 covers 1.5 to 3, 1.5 before.
    assert AXIS.padding == 2
    # Pixel 0 ends at 3, which is 1.5 behind 1.5; pixel 1 at 4, 1 behind 3.
    assert AXIS.halo == (2, 2)


def test_the_centre_is_the_middle_of_pixels_not_their_corner() -> None:
    # Pixel 0 reaches from -1 to 3 (its last pixel is all of [2, 3)), pixel 1 from 0 to 4.
    assert AXIS.centre == pytest.approx(((-1 + 3) / 2 + ((0 + 4) / 2 - 1.5)) / 2)
    assert Axis(first=(-1,), last=(1,), shift=1).centre == 0.5


@pytest.mark.parametrize(
    "i, extent", [(0, (-1, 2)), (1, (0, 3)), (2, (2, 5)), (5, (6, 9)), (-1, (-3, 0))]
)
def test_the_extent_moves_by_the_shift(i: int, extent: tuple[int, int]) -> None:
    assert AXIS.extent(i) == extent


@pytest.mark.parametrize("pixel, box", [((0, 0), (0, 0, 2, 3)), ((2, 1), (1, 0, 4, 4)),
                                        ((4, 3), (3, 1, 5, 4))])  # fmt: skip
def test_the_box_of_a_pixel_has_its_right_and_bottom_border(
    pixel: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    """A window of 3 columns and 5 rows on an image of 5 × 4."""
    net = nn.Conv2d(3, 1, (5, 3), padding=(2, 1))
    found = gradviz.receptive_field(net, torch.rand(3, 4, 5), [pixel])
    assert found.fields[0].structural.box == box


@pytest.mark.parametrize("length", [1, 4, 9])
def test_the_pixels_within_an_input_are_counted(length: int) -> None:
    for i in range(-4, 12):
        first, last = AXIS.extent(i)
        assert AXIS.within(length, i) == sum(first <= pixel <= last for pixel in range(length))
