"""The parts of a figure, as values: panels with their lines and colour bars, in groups."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradviz.arrays import Bytes, Doubles

Rgb = tuple[float, float, float]
"""Red, green and blue, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class FigureLine:
    """A line over a panel."""

    points: Doubles
    """[N, 2]: x and y in pixels of the picture, of which pixel `i` covers `[i, i + 1)`."""
    colour: Rgb
    width: float = 0.8
    """The width in points."""
    dashes: tuple[float, ...] = ()
    """The lengths of the dashes and of the gaps between them, in line widths; empty for a solid
    line."""
    edge: Rgb | None = None
    """The colour on both sides of the line, so that it shows on anything; None for no edge."""


@dataclass(frozen=True, eq=False)
class ColourBar:
    """The colours of a panel and the numbers that they stand for."""

    colours: Bytes
    """uint8 [N, 3], from the lowest value to the highest."""
    low: float
    high: float
    label: str
    """The quantity and its unit."""


@dataclass(frozen=True, eq=False)
class FigurePanel:
    """A picture with what is drawn over and below it."""

    name: str
    """The text above it; empty for none."""
    picture: Bytes = field(repr=False)
    """uint8 [H, W, 3]."""
    lines: tuple[FigureLine, ...] = ()
    bar: ColourBar | None = None
    corner: tuple[int, int] = (0, 0)
    """x and y of the picture's first pixel: not 0 if it is a part of a larger one."""


@dataclass(frozen=True)
class LegendKey:
    """One entry of a legend."""

    text: str
    line: FigureLine


@dataclass(frozen=True)
class FigureGroup:
    """The panels of one result, row by row, with a title and a legend."""

    title: str
    rows: tuple[tuple[FigurePanel, ...], ...]
    legend: tuple[LegendKey, ...] = ()
