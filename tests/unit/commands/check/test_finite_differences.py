"""Slopes of functions whose slopes are known, with rounding and kinks put in by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from gradviz.commands.check.finite_differences import (
    Ladder,
    Ray,
    Slope,
    compare_slope,
    linear_range,
    noise_of,
)

DOUBLES = Ladder(torch.finfo(torch.float64).eps)
FLOATS = Ladder(torch.finfo(torch.float32).eps)

Function = Callable[[float], float]


def from_0_3(function: Function) -> Ray:
    return lambda step: function(0.3 + step)


def compared(function: Function, expected: float, noise: float = 1e-16, **more: float) -> Slope:
    settings = {"size": 0.0, "span": 1.0, **more}
    return compare_slope(from_0_3(function), expected, noise=noise, ladder=DOUBLES, **settings)


def test_the_ladders() -> None:
    assert DOUBLES.steps == pytest.approx([2.0 ** (-3.25 * k) for k in range(10, 3, -1)])
    assert DOUBLES.tolerance == pytest.approx(2.0**-12) and DOUBLES.beside == 2.0**-6.5
    assert FLOATS.steps[0] == pytest.approx(2.0**-14.375)
    for ladder in (DOUBLES, FLOATS):
        assert sorted(ladder.trend) == list(ladder.trend) and ladder.trend[-1] == 1
        assert ladder.trend[0] <= ladder.steps[-1] < ladder.trend[1]


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (math.sin, math.cos(0.3)),
        (lambda x: x**3, 3 * 0.3**2),
        (lambda x: math.exp(5 * x), 5 * math.exp(1.5)),
        (lambda x: 7.0, 0.0),
    ],
)
def test_known_slopes(function: Function, slope: float) -> None:
    found = compared(function, slope)
    assert found.agrees and found.measured == pytest.approx(slope, rel=1e-5)
    for wrong in (slope * 1.001 + 1e-3, -slope + 1e-3):
        found = compared(function, wrong)
        assert found.agrees is False and not found.corner
        assert found.measured == pytest.approx(slope, rel=1e-5, abs=1e-7)
        assert found.error == pytest.approx(abs(wrong - slope) / max(abs(wrong), slope), rel=1e-3)


def test_errors_are_relative_to_the_size_where_slopes_are_small() -> None:
    assert not compared(math.sin, math.cos(0.3) * 1.01).agrees
    found = compared(math.sin, math.cos(0.3) * 1.01, size=1e3)
    assert found.agrees and found.error == pytest.approx(0.01 * math.cos(0.3) / 1e3, rel=1e-3)


def test_a_kink_near_by_spoils_the_longer_steps_only() -> None:
    """The slope is 1 up to 1e-6 beyond x, and 3 from there on."""
    bent = compared(lambda x: x + 2 * max(0.0, x - 0.300001), 1.0)
    assert bent.agrees and bent.step < 1e-6


def test_at_a_kink_only_the_mean_of_the_two_slopes_agrees() -> None:
    def at(expected: float) -> Slope:
        return compared(lambda x: max(0.0, x - 0.3), expected)

    assert [at(slope).agrees for slope in (0.0, 0.5, 1.0)] == [False, True, False]
    assert at(0.0).corner and at(1.0).corner


def test_a_staircase_whose_trend_is_the_slope_is_flat() -> None:
    found = compared(lambda x: math.floor(x * 1000 + 0.5) / 1000, 1.0)
    assert not found.agrees and found.measured == 0


def test_one_chance_agreement_is_none() -> None:
    """The slope is 2, but for one step of the ladder, at which it seems to be 1."""
    step = DOUBLES.steps[3]

    def chance(x: float) -> float:
        seems = abs(abs(x - 0.3) - step) < 1e-3 * step
        return (x - 0.3) * (1 if seems else 2)

    assert compared(chance, 2.0).agrees
    assert not compared(chance, 1.0).agrees


def test_rounding_shortens_the_ladder_and_not_the_trust() -> None:
    def coarse(x: float) -> float:
        return round(x * 2, 10)

    assert compared(coarse, 2.0, noise=1e-10).agrees
    assert not compared(coarse, 2.01, noise=1e-10).agrees
    # Nothing can be said where rounding is all there is, unless a larger slope is measured.
    assert compared(lambda x: round(x * 1e-12, 10), 1e-12, noise=1e-10).agrees is None
    assert compared(coarse, 1e-12, noise=1e-10).agrees is False
    assert compared(lambda x: 5.0, 0.0, noise=1e-10).agrees is True


def test_a_slope_that_is_wrong_at_one_sharp_step_alone_agrees_at_the_others() -> None:
    """Kinks spoil all steps but the shortest that rounding allows, and the one before it agrees."""
    noise = 1e-9
    first = next(k for k, t in enumerate(DOUBLES.steps) if noise / t <= DOUBLES.tolerance)
    nearest = (DOUBLES.steps[first] + DOUBLES.steps[first + 1]) / 2

    def bent(x: float) -> float:
        return x + max(0.0, x - 0.3 - nearest)

    found = compared(bent, 1.0, noise=noise)
    assert found.agrees and found.error <= DOUBLES.tolerance
    wrong = compared(bent, 1.5, noise=noise)
    assert wrong.agrees is False and wrong.error > DOUBLES.tolerance


def test_one_sharp_step_is_enough_to_agree() -> None:
    """The step before it is off by more than its rounding, as where noise is underestimated."""
    noise = DOUBLES.tolerance * DOUBLES.steps[-1]

    def shaken(x: float) -> float:
        return x if abs(x - 0.3) > 0.9 * DOUBLES.steps[-1] else 9 * x

    assert compared(shaken, 1.0, noise=noise).agrees


def test_what_is_not_finite_never_agrees() -> None:
    for expected in (math.nan, math.inf):
        assert not compared(math.sin, expected).agrees
    assert not compared(lambda x: math.nan, 1.0).agrees


def test_the_noise_of_a_rounded_line() -> None:
    """Rounded to 1e-9, stepped by 2.5e-10: second differences are one grain, or none."""
    noise = noise_of(from_0_3(lambda x: round(x * 3, 9)), 2.5e-10, last_digits=0)
    assert noise == pytest.approx(1e-9, rel=1e-3)
    assert noise_of(from_0_3(lambda x: x * 3), 2.5e-10, last_digits=0) < 1e-15
    assert noise_of(from_0_3(lambda x: 5.0), 1e-12, last_digits=1e-3) == 1e-3


def test_the_reach_of_a_parabola() -> None:
    """x² leaves its tangent 2·0.3·t by t², a tenth of it at t = 0.06."""
    found = linear_range(from_0_3(lambda x: x * x), 0.6, span=1.0, noise=1e-16, ladder=DOUBLES)
    assert found.agrees and 0.06 / 10 ** (1 / 3) < found.step <= 0.06
    assert found.error == pytest.approx(found.step / 0.6)
    wide = linear_range(from_0_3(lambda x: x * x), 0.6, span=4.0, noise=1e-16, ladder=DOUBLES)
    assert 0.06 / 10 ** (1 / 3) < wide.step <= 0.06


def test_the_reach_in_noise_is_not_told() -> None:
    """A tenth of the slope is above the noise from t = 1e-2 on, and there the line has ended."""
    level = 1e-3
    found = linear_range(
        from_0_3(lambda x: x if abs(x - 0.3) < 1e-2 else 9 * x),
        1.0,
        span=1.0,
        noise=level,
        ladder=DOUBLES,
    )
    assert (found.agrees, found.step) == (False, 0.0)
    hidden = linear_range(from_0_3(lambda x: x), 1.0, span=1.0, noise=1e3, ladder=DOUBLES)
    assert (hidden.agrees, hidden.step) == (None, 0.0)
    flat = linear_range(from_0_3(lambda x: 5.0), 0.0, span=1.0, noise=level, ladder=DOUBLES)
    assert flat.agrees and flat.step == 1


def test_the_reach_at_a_kink_is_nothing() -> None:
    found = linear_range(
        from_0_3(lambda x: max(0.0, x - 0.3)), 1.0, span=1.0, noise=1e-16, ladder=DOUBLES
    )
    assert (found.agrees, found.step) == (False, 0.0)


def test_the_reach_of_a_function_that_bends_on_one_side() -> None:
    """Backwards it would be a line for ever; forwards the slope is 2 from 0.31 on: t ≤ 0.0111."""
    found = linear_range(
        from_0_3(lambda x: x + max(0.0, x - 0.31)), 1.0, span=1.0, noise=1e-16, ladder=DOUBLES
    )
    assert 0.0111 / 10 ** (1 / 3) < found.step <= 0.0112
