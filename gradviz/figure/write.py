"""Writing a figure with matplotlib: the same figure is the same bytes."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from gradviz.figure.pages import LINE_HEIGHT, Measure, PlacedPart, SheetPage, lay_out
from gradviz.figure.panels import ColourBar, FigureGroup, FigureLine, FigurePanel
from gradviz.figure.sheet import Sheet
from gradviz.files import write_whole
from gradviz.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 300
"""The resolution of a PNG."""

_INCH = 25.4
"""Millimetres."""

_EDGE = 0.7
"""The points by which a line's edge is wider than the line."""

PRINT_STYLE: dict[Any, Any] = {
    "axes.linewidth": 0.4,
    "pdf.fonttype": 42,  # fonts are embedded, and text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "gradviz",  # the same figure is the same bytes
}

UNDATED: dict[str, dict[str, Any]] = {
    "png": {},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
"""The metadata of each kind of file: a date would change it each time."""


def write_figure(sheet: Sheet, groups: Iterable[FigureGroup], title: str) -> None:
    """Draw a figure, page by page, and write its file, whole or not at all.

    Args:
        sheet: the choices of the figure.
        groups: the results, at least one, in the order of reading; taken one by one.
        title: the text above all.

    Raises:
        UsageError: the disk refuses.
    """
    with matplotlib_loaded():
        write_whole(sheet.path, partial(_write_pages, sheet=sheet, groups=groups, title=title))


def _write_pages(file: BinaryIO, sheet: Sheet, groups: Iterable[FigureGroup], title: str) -> None:
    from matplotlib.backends.backend_pdf import PdfPages

    metadata = UNDATED[sheet.kind]
    with print_style():
        pages = (
            _drawn(page, sheet) for page in lay_out(groups, sheet, one_line(title), _text_measure())
        )
        if sheet.kind == "pdf":
            with PdfPages(file, metadata=metadata) as document:
                for figure in pages:
                    document.savefig(figure)
        else:
            (figure,) = pages
            figure.savefig(file, format=sheet.kind, dpi=DOTS_PER_INCH, metadata=metadata)


@contextmanager
def matplotlib_loaded() -> Iterator[None]:
    """Import matplotlib, without the settings and the messages of the working folder.

    A `matplotlibrc` there may come from a stranger, and name programs to be started. What
    matplotlib says is about folders of its own, which nobody needs.
    """
    logger, here = logging.getLogger("matplotlib"), Path.cwd()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        os.chdir(here.anchor)
        try:
            import matplotlib  # noqa: F401  slow to import
        finally:
            os.chdir(here)
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def print_style() -> Iterator[None]:
    """Give what is drawn the style of print, whatever the user's settings are."""
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context(), warnings.catch_warnings():
        # Names may have letters that the font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        rcdefaults()
        rcParams.update(PRINT_STYLE)
        yield


def _text_measure() -> Measure:
    """Return the function that measures texts in the font of the figure."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))

    def measure(text: str, size: float) -> float:
        font.set_size(size, 72)  # at 72 dots an inch a dot is a point
        font.set_text(text)
        return float(font.get_width_height()[0]) / 64 * _INCH / 72

    return measure


def _drawn(page: SheetPage, sheet: Sheet) -> Figure:
    from matplotlib.figure import Figure

    width, height = page.width, page.height
    figure = Figure(figsize=(width / _INCH, height / _INCH))
    for part in page.parts:
        box = part.x / width, 1 - (part.y + part.height) / height
        axis = figure.add_axes((*box, part.width / width, part.height / height))
        _draw_part(axis, part, "none" if sheet.kind != "png" else "antialiased")
    for text in page.texts:
        baseline = text.y + 0.78 * LINE_HEIGHT * text.size
        figure.text(
            text.x / width,
            1 - baseline / height,
            text.text,
            size=text.size,
            ha=text.align,
            va="baseline",
            parse_math=False,
        )
    return figure


def _draw_part(axis: Axes, placed: PlacedPart, interpolation: str) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    part = placed.part
    if isinstance(part, FigurePanel):
        (x, y), (rows, columns, _) = part.corner, part.picture.shape
        limits = (x, x + columns, y + rows, y)
        axis.imshow(part.picture, interpolation=interpolation, extent=limits, aspect="auto")
        for line in part.lines:
            _draw_line(axis, line)
        axis.axis(limits)
    elif isinstance(part, ColourBar):
        axis.imshow(part.colours[None], interpolation=interpolation, aspect="auto")
    else:
        axis.axis("off")
        axis.axis((0, 1, 0, 1))
        _draw_line(axis, replace(part.line, points=np.array([[0, 0.5], [1, 0.5]])))


def _draw_line(axis: Axes, line: FigureLine) -> None:
    edge = [] if line.edge is None else [(line.edge, line.width + _EDGE)]
    for colour, width in (*edge, (line.colour, line.width)):
        style = (0, line.dashes) if line.dashes and colour is line.colour else "solid"
        axis.plot(*line.points.T, color=colour, linewidth=width, linestyle=style)
