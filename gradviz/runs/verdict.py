"""What a run comes to: its exit code, and whether its numbers are as expected."""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from math import isnan

from gradviz import errors
from gradviz.errors import ExitCode, GradvizError, ImageError, UsageError
from gradviz.runs.schema import Failed, ResultLine


def exit_code(lines: Iterable[ResultLine]) -> ExitCode:
    """0, or the code of what went wrong.

    The failure of a single image has its cause's own code. Of several images, the failures of some
    give `ExitCode.SOME_FAILED`; a seed or a model that fails on every image that could be read is
    itself wrong, and gives its own code.
    """
    lines = list(lines)
    # Without --seed the seed's name is known only where an image came so far as to need one.
    default = any(line.seed is None for line in lines)
    alone = len({line.image for line in lines}) == 1
    causes = defaultdict(list)
    for line in lines:
        cause = _cause(line)
        if alone or cause is not ImageError:
            causes[None if default else line.seed].append(cause)
    codes = {
        cause.exit_code
        for group in causes.values()
        for cause in set(group)
        if cause is not None and None not in group
    }
    if any(isinstance(line, Failed) for line in lines):
        codes.add(ExitCode.SOME_FAILED)
    return ExitCode.winner(codes)


def _cause(line: ResultLine) -> type[GradvizError] | None:
    if not isinstance(line, Failed):
        return None
    cause: type[GradvizError] = getattr(errors, line.error.type)
    return cause


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
        """Why it does not hold; None where it holds for every one of the measured numbers."""
        holds = OPERATORS[self.operator]
        wrong = [value for value in measured if not holds(value, self.number)]
        if not wrong:
            return None
        worst = max(wrong, key=lambda value: abs(value - self.number))
        return f"expected {self}, measured {worst:g}"


def parse_expectation(text: str, quantities: Collection[str]) -> Expectation:
    """Read an expectation.

    Raises:
        UsageError: it is none, or names another quantity.
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
