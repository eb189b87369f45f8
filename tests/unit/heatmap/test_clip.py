"""`--clip`: which value of a map gets the strongest colour."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from gradviz.errors import UsageError
from gradviz.heatmap.clip import Clip, clipped_at, parse_clip, recorded_clip


def by_trial(values: list[int], percent: Fraction) -> int:
    """The smallest value such that those above it hold at most 100 − percent % of the squares."""
    whole = sum(value**2 for value in values)
    for least in sorted(set(values)):
        above = sum(value**2 for value in values if value > least)
        if above * 100 <= whole * (100 - percent):
            return least
    raise AssertionError("the largest value has nothing above it")


@pytest.mark.parametrize("percent", [Fraction(1), Fraction(50), Fraction(155, 2), Fraction(99)])
def test_the_values_above_hold_the_rest_of_the_energy(percent: Fraction) -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        # Few numbers, so that many are equal, and sums of squares that are exact.
        values = random.integers(1, random.integers(2, 40), random.integers(1, 60))
        found = clipped_at(values.astype(float), f"energy:{float(percent)}")
        assert found == by_trial(values.tolist(), percent)


def test_all_energy_is_the_largest_value() -> None:
    values = np.random.default_rng(0).normal(size=999) ** 2 + 1e-9
    assert clipped_at(values.copy(), "energy:100") == clipped_at(values.copy(), 100.0)


def test_one_large_value_is_not_clipped() -> None:
    """Of a thousand small values and one of a hundred times their size, 99 % are the small ones."""
    values = np.array([1.0] * 1000 + [100.0] * 3)
    assert clipped_at(values.copy(), 99.0) == 1
    assert clipped_at(values.copy(), "energy:99") == 100


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_squares_beyond_all_numbers(size: float) -> None:
    assert clipped_at(np.array([1.0, 2.0, 3.0]) * size, "energy:50") == 3 * size


@pytest.mark.parametrize(
    ("text", "clip"),
    [("99", 99.0), ("0.5", 0.5), ("energy:95", "energy:95"), ("energy:99.50", "energy:99.5")],
)
def test_a_clip_is_a_number_or_a_share_of_the_energy(text: str, clip: Clip) -> None:
    assert parse_clip(text) == clip == recorded_clip(clip)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("high", "--clip high: write it as a number, or as energy:P"),
        ("nan", "--clip nan: write it as a number, or as energy:P"),
        ("energy:", "--clip energy:: write it as a number, or as energy:P"),
        ("energy:0", "--clip energy:0: a share of the energy is above 0 and at most 100"),
        ("101", "--clip 101: a percentile is above 0 and at most 100"),
        ("-inf", "--clip -inf: a percentile is above 0 and at most 100"),
    ],
)
def test_other_clips_are_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_clip(text)
    assert str(refusal.value) == says
    assert recorded_clip(text) == 99.0


@pytest.mark.parametrize("value", [None, True, [], {}, 0, float("nan")])
def test_a_record_of_no_clip_has_the_default(value: object) -> None:
    assert recorded_clip(value) == 99.0
