"""Charts of layers: where their dots are."""

from __future__ import annotations

import pytest

from gradviz.commands.report.layer_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart_of


def test_dots_lie_where_their_numbers_are() -> None:
    chart = chart_of(["a", "b"], {"size": [0, 100]})
    assert chart
    assert [tick.label for tick in chart.ticks] == ["0", "20", "40", "60", "80", "100"]
    first, second = chart.lines[0].dots
    assert (first.y, second.y) == (HEIGHT - BOTTOM, TOP)
    inside = WIDTH - LEFT - RIGHT
    assert (first.x, second.x) == (LEFT + inside / 4, LEFT + 3 * inside / 4)
    assert first.title == "a: size 0"


def test_equal_ratios_have_equal_heights() -> None:
    chart = chart_of(["a", "b", "c"], {"norm": [0.02, 2.0, 200.0]}, log=True)
    assert chart
    low, middle, high = (dot.y for dot in chart.lines[0].dots)
    assert low - middle == pytest.approx(middle - high)
    assert [tick.label for tick in chart.ticks] == ["0.01", "0.1", "1", "10", "100", "1000"]


def test_what_is_no_number_is_left_out() -> None:
    names = ["a", "b", "c", "d"]
    chart = chart_of(names, {"x": [1.0, None, float("inf"), 0.0]}, log=True)
    assert chart and [dot.title for dot in chart.lines[0].dots] == ["a: x 1"]
    assert chart_of(names, {"x": [None] * 4}) is None
    assert chart_of([], {"x": []}) is None


@pytest.mark.parametrize("largest", [1e-30, 0.3, 1, 7, 99, 971, 1451, 1e30])
def test_every_dot_is_inside(largest: float) -> None:
    for log in (False, True):
        chart = chart_of(["a", "b"], {"x": [largest / 3, largest]}, log=log)
        assert chart
        assert all(TOP <= dot.y <= HEIGHT - BOTTOM for dot in chart.lines[0].dots)
        assert 2 <= len(chart.ticks) <= 8


def test_one_number_and_only_zeros_are_drawn() -> None:
    assert chart_of(["a"], {"x": [0]}) and chart_of(["a"], {"x": [1000.0]}, log=True)
