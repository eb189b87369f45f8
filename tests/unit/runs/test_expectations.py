"""What an expectation says where it does not hold."""

from __future__ import annotations

import pytest

from gradviz.runs.expectations import Expectation


@pytest.mark.parametrize(
    "operator, measured, worst",
    [
        ("<=", [11, 50, 20, 3], 50),
        ("<", [10, 90, 9], 90),
        (">=", [9, -4, 2, 30], -4),
        (">", [10, 1, 12], 1),
        ("==", [10, 12, 4], 4),
    ],
)
def test_the_worst_of_what_does_not_hold_is_told(
    operator: str, measured: list[float], worst: float
) -> None:
    expectation = Expectation("size", operator, 10)
    assert expectation.failure(measured) == f"expected size{operator}10, measured {worst}"
    assert expectation.failure([10] if "=" in operator else []) is None
