"""A line chart for print: numbers of several runs, in the order in which they were named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from gradviz.figure.write import matplotlib_loaded, print_style

_DOTS_PER_INCH = 200

_SIZE = 4.8, 2.8
"""The width and height in inches."""


@dataclass(frozen=True)
class Series:
    """One line of a chart: a number for each run, and how far its middle half reaches."""

    name: str
    values: tuple[float, ...]
    """NaN leaves a gap."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    is_bound: bool = False
    """True for what the others cannot exceed: it is dashed, so that one below it shows."""


def draw_chart(
    file: BinaryIO, names: Sequence[str], series: Sequence[Series], quantity: str
) -> None:
    """Draw a PNG with a line for each series, from 0 up, the lowest series first in the legend.

    Args:
        file: the open file.
        names: the names of the runs, from left to right.
        series: the lines.
        quantity: the label of the vertical axis, with its unit.
    """
    with matplotlib_loaded(), print_style():
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=_SIZE, layout="constrained")
        axis = figure.add_subplot()
        places = range(len(names))
        for each in series:
            style: dict[str, Any] = (
                {"linestyle": "--", "color": "black"} if each.is_bound else {"marker": "o"}
            )
            axis.plot(places, each.values, markersize=3, linewidth=1, label=each.name, **style)
            if each.low != each.high:
                axis.fill_between(places, each.low, each.high, alpha=0.2, linewidth=0)
        axis.set_xticks(places, names, parse_math=False)
        axis.set_ylabel(quantity, fontsize=7)
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.tick_params(labelsize=7, width=0.4)
        axis.grid(axis="y", linewidth=0.3)
        figure.legend(loc="outside right center", fontsize=7, frameon=False, reverse=True)
        figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
