"""A line chart of numbers, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 28
"""The margins around the plot."""


@dataclass(frozen=True)
class Tick:
    """A line across the chart."""

    at: float
    """The height of the line in the picture."""
    label: str


@dataclass(frozen=True)
class Dot:
    """One layer's number."""

    x: float
    y: float
    title: str
    """The text that a pointer over it shows."""


@dataclass(frozen=True)
class ChartLine:
    """The numbers of one kind, in the order of the layers."""

    name: str
    dots: tuple[Dot, ...]

    @property
    def points(self) -> str:
        """The points in the form of an SVG polyline."""
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)


@dataclass(frozen=True)
class Chart:
    """A drawn chart, `WIDTH` by `HEIGHT`."""

    lines: tuple[ChartLine, ...]
    ticks: tuple[Tick, ...]


def chart_of(
    names: Sequence[str], kinds: Mapping[str, Sequence[float | None]], log: bool = False
) -> Chart | None:
    """Draw numbers, layer by layer, left to right.

    Args:
        names: the names of the layers.
        kinds: for each line its name and its numbers; None leaves the layer out.
        log: True for a logarithmic scale, which leaves out numbers that are not above 0.

    Returns:
        the chart; None if there is no number.
    """
    shown = {
        kind: [(n, value) for n, value in enumerate(values) if _drawable(value, log)]
        for kind, values in kinds.items()
    }
    numbers = [float(value) for pairs in shown.values() for _, value in pairs if value is not None]
    if not numbers:
        return None
    marks = _decades(min(numbers), max(numbers)) if log else _round_numbers(max(numbers))
    low, high = (_place(mark, log) for mark in (marks[0], marks[-1]))

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (_place(value, log) - low) / (high - low)

    def x(n: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (n + 0.5) / len(names)

    lines = tuple(
        ChartLine(
            kind,
            tuple(
                Dot(x(n), y(value), f"{names[n]}: {kind} {value:.4g}")
                for n, value in pairs
                if value is not None
            ),
        )
        for kind, pairs in shown.items()
    )
    return Chart(lines, tuple(Tick(y(mark), f"{mark:g}") for mark in marks))


def _drawable(value: float | None, log: bool) -> bool:
    return value is not None and isfinite(value) and (value > 0 or not log)


def _place(value: float, log: bool) -> float:
    return log10(value) if log else value


def _round_numbers(largest: float) -> list[float]:
    """Choose about four steps of 1, 2 or 5 times a power of ten, from 0 up."""
    largest = largest or 1.0
    power = 10.0 ** floor(log10(largest / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if largest / (power * factor) <= 5)
    count = next(n for n in range(1, 7) if n * step >= largest)
    return [n * step for n in range(count + 1)]


def _decades(smallest: float, largest: float) -> list[float]:
    """Choose about five powers of ten from below the smallest to above the largest."""
    low, high = floor(log10(smallest)), floor(log10(largest)) + 1
    step = max(1, round((high - low) / 5))
    return [10.0**n for n in range(low, high + step, step)]
