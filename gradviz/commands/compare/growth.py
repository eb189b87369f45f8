"""The growth of the effective fields of several runs: a chart of their sides, run by run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from gradviz.arrays import Doubles
from gradviz.commands.compare.comparison import Comparison
from gradviz.field.effective import PERCENTS
from gradviz.figure.chart import Series, draw_chart
from gradviz.runs.reader import FieldResults
from gradviz.runs.schema import FieldEntry

QUANTITY = "side of the centred square (pixels)"


def draw_growth(file: BinaryIO, comparison: Comparison) -> None:
    """Draw the sides that hold 20, 30, 50 and 99 % of the effective fields, and the whole field's.

    Each is the median over the images and pixels that all runs have, between its quartiles.

    Args:
        file: the open file.
        comparison: runs of `receptive-field`.
    """
    draw_chart(file, comparison.labels, [*growth_of(comparison)], QUANTITY)


def can_grow(comparison: Comparison) -> bool:
    """Return True if there are more than two runs of `receptive-field`, and fields in common."""
    return len(comparison.runs) > 2 and bool(_shared(comparison))


def growth_of(comparison: Comparison) -> Iterator[Series]:
    """Yield the lines of the chart, the smallest share first."""
    shared = _shared(comparison)
    for percent in PERCENTS:
        name = f"{percent} % of the energy"
        yield _one(name, [[_square(each, percent) for each in of] for of in shared])
    sides = [[float(max(each.size or [0])) for each in of] for of in shared]
    yield replace(_one("all that can matter", sides), is_bound=True)


def _shared(comparison: Comparison) -> list[list[FieldEntry]]:
    """List the fields of each run that all runs have, without the means over images."""
    runs = [run.entries for run in comparison.runs if isinstance(run, FieldResults)]
    shared = set.intersection(*({*each} for each in runs)) if runs else set()
    keys = [key for key in sorted(shared) if key[0] != "mean"]
    return [[run[key] for key in keys] for run in runs] if keys else []


def _square(entry: FieldEntry, percent: int) -> float:
    return float(entry.effective.squares.get(str(percent), np.nan))


def _one(name: str, sides: Sequence[Sequence[float]]) -> Series:
    quartiles: Doubles = np.quantile(np.array(sides, float), [0.25, 0.5, 0.75], axis=1)
    low, middle, high = (tuple(map(float, each)) for each in quartiles)
    return Series(name, middle, low, high)
