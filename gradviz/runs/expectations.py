"""Expectations: the bounds that `--expect` holds a measured quantity to."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import isnan

from gradviz.errors import UsageError

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Expectation:
    """`QUANTITY OP NUMBER`, such as `size>=97`."""

    quantity: str
    operator: str
    number: float

    def __str__(self) -> str:
        return f"{self.quantity}{self.operator}{self.number:g}"

    def failure(self, measured: Sequence[float]) -> str | None:
        """Explain why the expectation does not hold.

        Args:
            measured: the measured numbers.

        Returns:
            one phrase; None if it holds for every number.
        """
        holds = OPERATORS[self.operator]
        wrong = [value for value in measured if not holds(value, self.number)]
        if not wrong:
            return None
        worst = max(wrong, key=lambda value: abs(value - self.number))
        return f"expected {self}, measured {worst:g}"


def parse_expectation(text: str, quantities: Collection[str]) -> Expectation:
    """Parse an expectation.

    Args:
        text: `QUANTITY OP NUMBER`.
        quantities: the quantities that it may name.

    Raises:
        UsageError: it has another form, or names another quantity.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(==|<=|>=|<|>)\s*(\S+)\s*", text)
    number = found and _number(found[3])
    if found is None or number is None:
        raise UsageError(
            f"--expect {text}: write it as QUANTITY OP NUMBER, such as "
            f"'{next(iter(quantities))}>=1', with one of {' '.join(OPERATORS)}"
        )
    if found[1] not in quantities:
        raise UsageError(
            f"--expect {text}: there is no {found[1]}; expect one of {', '.join(quantities)}"
        )
    return Expectation(found[1], found[2], number)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if isnan(number) else number
