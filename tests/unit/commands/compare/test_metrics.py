"""Every metric against values worked out by hand, and against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradviz.commands.compare.metrics import METRICS

Floats = NDArray[np.float32]

numbers = st.floats(-(2.0**99), 2.0**99, width=32)
pairs = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*(st.lists(numbers, min_size=n, max_size=n) for _ in "ab"))
)


def of(metric: str, a: object, b: object) -> float:
    dtype = np.float32
    return METRICS[metric].function(np.array(a, dtype), np.array(b, dtype))


@pytest.mark.parametrize(
    ("metric", "a", "b", "value"),
    [
        ("max", [1.5, -4.0], [2.0, 3.0], 7),
        ("relative", [1.5, -4.0], [2.0, 3.0], 7 / 4),
        ("relative", [0.5, 0.0], [0.5, 8.0], 1),
        ("relative", [3e38, 2.0], [-3e38, 2.0], 2),  # their difference is no float32
        ("relative", [0.0, 0.0], [0.0, 0.0], 0),
        ("cosine", [3.0, 4.0], [6.0, 8.0], 1),
        ("cosine", [3.0, 4.0], [-3.0, -4.0], -1),
        ("cosine", [1.5, 0.0], [1.5, 1.5], math.sqrt(0.5)),
        ("cosine", [1e-40, 0.0], [1e-40, 1e-40], math.sqrt(0.5)),  # squares are no float32
        ("cosine", [0.0, 0.0], [0.0, 0.0], 1),
        ("cosine", [0.0, 0.0], [0.0, 2.0], 0),
        ("iou", [[True, True, False, False]], [[False, True, True, True]], 1 / 4),
        ("iou", [[False, False]], [[False, False]], 1),
        ("iou", [[False, False]], [[False, True]], 0),
        ("relative", [[True, False]], [[True, True]], 1),
        ("relative-l2", [3.0, 4.0], [6.0, 8.0], 1 / 2),
        ("relative-l2", [3.0, 4.0], [-3.0, -4.0], 2),
        ("relative-l2", [3e38, 0.0], [-3e38, 0.0], 2),
        ("relative-l2", [1e-40, 0.0], [1e-40, 1e-40], math.sqrt(0.5)),
        ("relative-l2", [0.0, 0.0], [0.0, 0.0], 0),
        ("relative-l2", [0.0, 0.0], [0.0, 2.0], 1),
        ("relative-l2", [[True, False]], [[True, True]], math.sqrt(0.5)),
    ],
)
def test_by_hand(metric: str, a: list[object], b: list[object], value: float) -> None:
    mask = isinstance(a[0], list)
    arrays = [np.array(each, bool if mask else np.float32) for each in (a, b)]
    found = METRICS[metric].function(*arrays)
    assert found == pytest.approx(value, rel=1e-6)
    assert type(found) is float  # numpy's own would not go into JSON


@pytest.mark.parametrize(
    ("moved", "value"),
    [(0, 1), (1, 4 / 6), (5, 0)],
)
def test_iou_is_that_of_the_strongest_twentieth(moved: int, value: float) -> None:
    # The 5 largest of 100 pixels, of which `moved` are elsewhere in the other map.
    a = np.linspace(0.1, 0.2, 100, dtype=np.float32).reshape(10, 10)
    b = a.copy()
    a.flat[:5] = 7
    b.flat[moved : moved + 5] = -9
    assert METRICS["iou"].function(a, b) == pytest.approx(value)


def test_a_pixel_is_as_strong_as_its_channels_together() -> None:
    a = np.zeros((3, 4, 5), np.float32)
    a[:, 0, 0] = 1, -1, 1
    a[0, 1, 1] = 2.5
    b = np.zeros_like(a)
    b[1, 0, 0] = 1
    assert METRICS["iou"].function(a, b) == 1


def test_pixels_as_strong_as_the_last_count_too() -> None:
    # 20 pixels make one strongest, and no order says which of three equal ones.
    a, b = np.zeros((2, 4, 5), np.float32)
    a[0, :3] = 1
    b[0, 1:3] = 1
    assert METRICS["iou"].function(a, b) == pytest.approx(2 / 3)


def test_zeros_are_never_among_the_strongest() -> None:
    # 100 pixels make five strongest, where only one is not zero.
    a, b = np.zeros((2, 10, 10), np.float32)
    a[0, 0] = b[0, 1] = 1
    assert METRICS["iou"].function(a, b) == 0


def flipped(pixels: int, factor: float = 0.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A map of ones, 10×10, and the same with this factor at some pixels."""
    a = np.ones((3, 10, 10), np.float32)
    b = a.copy()
    b.reshape(3, -1)[:, :pixels] = factor
    return a, b


@pytest.mark.parametrize(
    ("pixels", "factor", "value"),
    [
        # Each of 95 pixels has an energy of 3 and each of 5 one of 0.003, or nothing where it is 0.
        (5, 0, math.sqrt(5 * 0.003 / (95 * 3 + 5 * 0.003))),
        (6, 0, math.sqrt((3 + 5 * 0.003) / (95 * 3 + 5 * 0.003))),
        (100, 1.01, 0.01 / 1.01),
        # A pixel that is a thousand times as large: 1000² · 3 · 0.001.
        (1, 1000, math.sqrt(999**2 * 0.003 / (95 * 3 + 4 * 0.003 + 1000**2 * 0.003))),
    ],
)
def test_a_twentieth_of_the_pixels_may_lie_behind_flips(
    pixels: int, factor: float, value: float
) -> None:
    row = METRICS["relative-l2"]
    found = row.function(*flipped(pixels, factor))
    assert found == pytest.approx(value, rel=1e-5)
    assert row.holds(found, row.tolerance) == (pixels == 5 or factor == 1.01)


def test_the_allowance_counts_the_pixels_that_are_not_zero() -> None:
    # Twenty pixels of 10 000 are seen, so that one of them is allowed for, and not five hundred.
    a = np.zeros((1, 100, 100), np.float32)
    a[0, 0, :20] = 1
    b = a.copy()
    b[0, 0, 0] = 0
    relative_l2 = METRICS["relative-l2"].function
    assert relative_l2(a, b) == pytest.approx(math.sqrt(0.001 / 19.001), rel=1e-5)
    b[0, 0, 1] = 0
    assert relative_l2(a, b) == pytest.approx(math.sqrt(1.001 / 19.001), rel=1e-5)


@given(pairs)
def test_against_plain_loops(pair: tuple[list[float], list[float]]) -> None:
    a, b = pair
    differences = [abs(x - y) for x, y in zip(a, b, strict=True)]
    size = max(abs(value) for value in a + b)
    assert of("max", a, b) == max(differences)
    assert of("relative", a, b) == pytest.approx(max(differences) / size if size else 0, abs=1e-12)
    norms = math.hypot(*a), math.hypot(*b)
    inner = math.fsum(x / norms[0] * y / norms[1] for x, y in zip(a, b, strict=True) if all(norms))
    if size:
        of_pixels = [(x * x, y * y, (x - y) ** 2) for x, y in zip(a, b, strict=True)]
        of_pixels.sort(key=lambda of: of[2], reverse=True)
        allowed = sum(x + y > 0 for x, y, _ in of_pixels) // 20
        weights = [0.001] * allowed + [1] * (len(a) - allowed)
        sums = [
            math.fsum(weight * each[part] for weight, each in zip(weights, of_pixels, strict=True))
            for part in range(3)
        ]
        ties = allowed and of_pixels[allowed - 1][2] == of_pixels[allowed][2]
        if not ties:
            expected = math.sqrt(sums[2] / max(sums[:2]))
            assert of("relative-l2", a, b) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    if all(norms):
        assert of("cosine", a, b) == pytest.approx(inner, abs=1e-9)


@given(pairs)
def test_all_metrics_are_symmetric_and_know_equal_arrays(
    pair: tuple[list[float], list[float]],
) -> None:
    for name, metric in METRICS.items():
        assert of(name, *pair) == pytest.approx(of(name, *pair[::-1]), abs=1e-12)
        assert metric.distance(of(name, pair[0], pair[0])) == pytest.approx(0, abs=1e-12)
        assert metric.holds(of(name, pair[0], pair[0]), metric.tolerance)


@pytest.mark.parametrize(
    ("metric", "inside", "outside"),
    [
        ("relative", 1e-3, 2e-3),
        ("relative-l2", 0.03, 0.031),
        ("max", 0, 1e-30),
        ("cosine", 0.9995, 0.9985),
        ("iou", 0.99, 0.98),
    ],
)
def test_the_default_tolerances(metric: str, inside: float, outside: float) -> None:
    row = METRICS[metric]
    assert row.holds(inside, row.tolerance)
    assert not row.holds(outside, row.tolerance)
    assert not row.holds(math.nan, row.tolerance)


@pytest.mark.parametrize("metric", METRICS)
def test_the_worst_value_is_the_farthest_from_that_of_equal_arrays(metric: str) -> None:
    values = [0.9, 0.2, 0.5]
    expected = 0.2 if METRICS[metric].larger_is_nearer else 0.9
    assert METRICS[metric].worst(values) == expected
