"""The size of effective fields, against closed forms and brute force."""

from __future__ import annotations

import json
from math import erf, log, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

import gradviz
from gradviz.arrays import Doubles, Numbers
from gradviz.field.effective import (
    CONTOURS,
    PERCENTS,
    Area,
    Statistics,
    contribution_of,
    energy_of,
    energy_regions,
    high_contribution,
    statistics_of,
    support_of,
)

G = np.array([[[1, -2, 0]], [[-3, -4, 0]]], np.float32)
"""Two channels of 1×3."""


def measured(energy: Numbers, centre: tuple[float, float]) -> Statistics:
    return statistics_of(energy, energy, centre)


def square_map(size: int, side: int, corner: tuple[int, int]) -> Doubles:
    """Ones in a square whose top left pixel is (x, y), zeros around it."""
    x, y = corner
    energy = np.zeros((size, size))
    energy[y : y + side, x : x + side] = 1
    return energy


def product(across: Doubles, down: Doubles) -> Doubles:
    return down[:, None] * across


def bell(size: int, centre: float, sigma: float) -> Doubles:
    """A Gaussian at the pixels' centres."""
    x = np.arange(size) + 0.5
    values: Doubles = np.exp(-((x - centre) ** 2) / (2 * sigma**2))
    return values


def uniform_stack(n: int, k: int) -> Doubles:
    """The response [n(k − 1) + 1] of n uniform kernels of k in a row."""
    response = np.ones(1)
    for _ in range(n):
        response = np.convolve(response, np.full(k, 1 / k))
    return response


def test_energy_support_and_contribution_of_a_gradient() -> None:
    assert energy_of(G).tolist() == [[4, 6, 0]]
    assert support_of(G).tolist() == [[True, True, False]]
    assert contribution_of(G).tolist() == [[1, 0, 0]]


def test_energy_and_contribution_do_not_overflow() -> None:
    largest = np.full((3, 1, 1), np.finfo(np.float32).max)
    assert energy_of(largest) == contribution_of(largest) == 3 * float(largest[0, 0, 0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_support_and_stays_in_the_energy(value: float) -> None:
    g = G.copy()
    g[0, 0, 2] = value
    assert support_of(g).all()
    assert np.isfinite(energy_of(g)).tolist() == [[True, True, False]]


@pytest.mark.parametrize("corner", [(0, 0), (4, 11), (20, 20)])
@pytest.mark.parametrize("side", [1, 5, 21])
def test_a_uniform_square(side: int, corner: tuple[int, int]) -> None:
    centre = corner[0] + side / 2, corner[1] + side / 2
    found = measured(square_map(41, side, corner), centre)
    assert found.squares == {
        str(share): next(k for k in range(1, 43, 2) if k**2 >= share / 100 * side**2)
        for share in PERCENTS
    }
    assert found.mean == pytest.approx(centre)
    assert found.sigma == pytest.approx([sqrt((side**2 - 1) / 12)] * 2)
    assert found.area_4_55 == side**2


def test_a_gaussian() -> None:
    found = measured(product(bell(120, 55.3, 6), bell(90, 41.8, 4)), (55.3, 41.8))
    assert found.mean == pytest.approx((55.3, 41.8))
    assert found.sigma == pytest.approx((6, 4))
    # exp(-r²) = 0.0455 is an ellipse of the area 2π·6·4·ln(1/0.0455).
    assert found.area_4_55 == pytest.approx(2 * np.pi * 24 * log(1 / 0.0455), rel=0.01)


@pytest.mark.parametrize("sigma", [1.0, 3.7, 10.0])
def test_the_squares_of_a_gaussian(sigma: float) -> None:
    edges = np.arange(102) - 50.5
    inside = np.diff([erf(edge / (sqrt(2) * sigma)) for edge in edges])
    found = measured(product(inside, inside), (50.5, 50.5)).squares
    for share in PERCENTS:
        # A Gaussian's share inside a square of side s is erf(s / (2√2 σ))².
        held = [erf(side / (2 * sqrt(2) * sigma)) ** 2 for side in range(1, 103, 2)]
        total = erf(50.5 / (sqrt(2) * sigma)) ** 2
        fitting = [2 * n + 1 for n, part in enumerate(held) if part >= share / 100 * total]
        assert found[str(share)] == fitting[0]


@pytest.mark.parametrize(
    ("n", "k", "sigma"), [(10, 3, 2.582), (64, 3, 6.532), (5, 7, 4.472), (1, 1, 0)]
)
def test_the_sigma_of_stacked_uniform_kernels(n: int, k: int, sigma: float) -> None:
    response = uniform_stack(n, k)
    middle = len(response) / 2
    found = measured(product(response, response), (middle, middle))
    assert found.sigma == pytest.approx([sqrt(n * (k**2 - 1) / 12)] * 2)
    assert found.sigma == pytest.approx([sigma] * 2, abs=5e-4)
    assert found.mean == pytest.approx((middle, middle))


def test_the_sigma_of_a_network_of_uniform_convolutions() -> None:
    convolutions = [nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(10)]
    for convolution in convolutions:
        nn.init.constant_(convolution.weight, 1 / 9)
    (result,) = gradviz.saliency(nn.Sequential(*convolutions), torch.rand(1, 32, 40), "pixel:25,14")
    found = measured(energy_of(result.array), (25.5, 14.5))
    assert found.sigma == pytest.approx((2.582, 2.582), abs=5e-4)
    assert found.mean == pytest.approx((25.5, 14.5), abs=1e-4)
    assert support_of(result.array).sum() == 21**2


SMALL_MAPS = st.integers(1, 9).flatmap(
    lambda height: st.integers(1, 9).flatmap(
        lambda width: arrays(np.int64, (height, width), elements=st.integers(0, 20))
    )
)


def inside(energy: Any, column: int, row: int, side: int) -> int:
    """The sum over the pixels of a square, one by one."""
    return sum(
        int(value)
        for (y, x), value in np.ndenumerate(energy)
        if 2 * abs(x - column) < side and 2 * abs(y - row) < side
    )


@given(SMALL_MAPS, st.integers(-2, 11), st.integers(-2, 11), st.floats(0, 0.99))
def test_squares_by_brute_force(energy: Any, column: int, row: int, part: float) -> None:
    found = measured(energy.astype(float), (column + part, row + part)).squares
    for share in PERCENTS:
        sides = (
            side
            for side in range(1, 99, 2)
            if 100 * inside(energy, column, row, side) >= share * energy.sum()
        )
        assert found[str(share)] == (next(sides) if energy.any() else 0)


def test_squares_in_a_corner_reach_beyond_the_map() -> None:
    # A square of side 2n + 1 around the corner pixel holds (n + 1)² of the 100 pixels.
    expected = {"20": 9, "30": 11, "50": 15, "99": 19}
    assert measured(np.ones((10, 10)), (0.5, 0.5)).squares == expected
    assert measured(np.ones((10, 10)), (9.9, 0)).squares == expected


def test_the_mean_of_a_field_clipped_at_the_border_is_inside() -> None:
    whole = product(bell(201, 100.5, 10), bell(201, 100.5, 10))
    found = measured(whole[:, 100:], (0.5, 100.5))
    assert found.mean is not None and found.sigma is not None
    # Half a Gaussian, its axis at 0.5, has the mean σ√(2/π) and the deviation σ√(1 − 2/π).
    assert found.mean[0] == pytest.approx(0.5 + 10 * sqrt(2 / np.pi), abs=0.4)
    assert found.sigma == pytest.approx((10 * sqrt(1 - 2 / np.pi), 10), rel=0.02)


def test_the_area_is_above_4_55_percent_of_the_peak() -> None:
    assert measured(np.array([[200, 9.2, 9.09], [0, 100, 9.11]]), (0, 0)).area_4_55 == 4


def test_without_energy() -> None:
    found = measured(np.zeros((4, 6)), (3, 2))
    none = {str(share): 0 for share in PERCENTS}
    assert found.squares == none
    assert found.mean is None and found.sigma is None and found.area_4_55 == 0
    assert found.replknet == {name: Area(0, 0) for name in none}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_left_out_and_counted(value: float) -> None:
    clean = np.arange(35.0).reshape(5, 7)
    clean[2, 3] = 0
    broken = clean.copy()
    broken[2, 3] = value
    without, found = measured(clean, (3, 2)), measured(broken, (3, 2))
    assert found.nonfinite == 1 and without.nonfinite == 0
    assert found.as_dict() | {"nonfinite": 0} == without.as_dict()


@pytest.mark.parametrize("energy", [np.zeros((5, 5)), np.eye(5), np.full((5, 5), np.nan)])
def test_as_dict_is_strict_json(energy: Numbers) -> None:
    found = measured(energy, (2.5, 2.5)).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found) == ["squares", "mean", "sigma", "area_4_55", "replknet", "nonfinite"]


def test_as_dict_by_hand() -> None:
    energy = np.zeros((9, 9))
    energy[4, 3:6] = 9
    assert measured(energy, (3.5, 4.5)).as_dict() == {
        "squares": {"20": 1, "30": 1, "50": 3, "99": 5},
        "mean": [4.5, 4.5],
        "sigma": [pytest.approx(sqrt(2 / 3)), 0],
        "area_4_55": 3,
        "replknet": {str(share): {"side": 3, "ratio": 9 / 81} for share in PERCENTS},
        "nonfinite": 0,
    }


def test_high_contribution_of_a_uniform_map() -> None:
    assert high_contribution(np.ones((32, 32))) == {
        "20": Area(15, 225 / 1024),
        "30": Area(19, 361 / 1024),
        "50": Area(23, 529 / 1024),
        "99": None,  # the largest square, of side 31, holds 93.8 %
    }


def test_high_contribution_sees_the_logarithm_of_the_scores() -> None:
    scores = np.full((9, 9), 9.0)
    scores[4, 4] = 10**80 - 1
    # log₁₀(1 + score) is 80 in the middle and 1 at each of the 80 others: half, and half.
    sides = {share: area and area.side for share, area in high_contribution(scores).items()}
    assert sides == {"20": 3, "30": 3, "50": 3, "99": None}
    scores[4, 4] = 9
    assert high_contribution(scores)["50"] == Area(7, 49 / 81)


def test_high_contribution_must_exceed_the_threshold_that_a_square_may_equal() -> None:
    scores = np.zeros((9, 9))
    scores[4, 4] = scores[4, 7] = scores[1, 1] = scores[7, 7] = scores[7, 1] = 9
    assert high_contribution(scores)["20"] == Area(7, 49 / 81)
    assert measured(scores, (4.5, 4.5)).squares["20"] == 1


def test_high_contribution_is_about_the_middle_of_the_map() -> None:
    assert high_contribution(square_map(16, 1, (3, 8)))["99"] == Area(11, 121 / 256)
    assert high_contribution(square_map(16, 1, (0, 8)))["20"] is None


def test_high_contribution_of_a_map_that_is_not_square() -> None:
    expected = {"20": Area(3, 9 / 32), "30": Area(5, 20 / 32), "50": Area(5, 20 / 32), "99": None}
    assert high_contribution(np.ones((4, 8))) == expected
    assert high_contribution(np.ones((8, 4))) == expected


@given(
    st.integers(1, 11).flatmap(
        lambda size: arrays(np.int64, (size, size), elements=st.integers(0, 2))
    )
)
def test_high_contribution_by_brute_force(logarithms: Any) -> None:
    size, middle = len(logarithms), len(logarithms) // 2
    found = high_contribution(10.0**logarithms - 1)
    for share in PERCENTS:
        fitting = [
            Area(side, side**2 / size**2)
            for side in range(3, 2 * middle, 2)
            if 100 * inside(logarithms, middle, middle, side) > share * logarithms.sum()
        ]
        expected = fitting[0] if fitting else None
        assert found[str(share)] == (expected if logarithms.any() else Area(0, 0))


def test_energy_regions_a_bell_are_its_discs() -> None:
    """A disc that holds the share p of a bell of deviation s has the radius s √(−2 ln(1 − p))."""
    size, s = 401, 40.0
    y, x = np.mgrid[:size, :size] - size // 2
    widened = s**2 + (0.01 * (size - 1)) ** 2  # by the smoothing, which is a Gaussian too
    regions = energy_regions(np.exp(-(x**2 + y**2) / (2 * s**2)))
    for share, region in zip(CONTOURS, regions, strict=True):
        radius = sqrt(-2 * widened * log(1 - share / 100))
        assert abs(region.sum() - np.pi * radius**2) < 0.02 * np.pi * radius**2
        assert np.hypot(x, y)[region].max() < radius + 2


def test_contours_lie_within_each_other_and_hold_their_share() -> None:
    energy = np.abs(np.random.default_rng(0).normal(size=(60, 80))) ** 3
    energy[5, 5] = np.nan
    wide, middle, narrow = energy_regions(energy)
    assert (wide >= middle).all() and (middle >= narrow).all()
    assert 0 < narrow.sum() < middle.sum() < wide.sum() <= energy.size


def test_without_energy_there_are_no_contours() -> None:
    assert energy_regions(np.zeros((4, 5))) == []
