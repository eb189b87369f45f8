"""What an expectation says where it does not hold."""

from __future__ import annotations

import pytest

from gradviz.errors import UsageError
from gradviz.runs.expectations import Expectation, parse_expectation


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


@pytest.mark.parametrize("text", ["size>=97", " size >= 97 ", "size>=9.7e1"])
def test_an_expectation_is_read(text: str) -> None:
    assert parse_expectation(text, ["size", "stride"]) == Expectation("size", ">=", 97.0)


@pytest.mark.parametrize("text", ["size", "size>=", "size=97", "97>=size", "size>=x", "size>=nan"])
def test_what_is_no_expectation_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write it as QUANTITY OP NUMBER"):
        parse_expectation(text, ["size", "stride"])
