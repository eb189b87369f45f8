"""`saliency --figure`: the maps of a finished run beside their inputs, as one figure for print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradviz.backward.methods import METHODS, SCORE_UNIT
from gradviz.figure.marks import mark_lines
from gradviz.figure.panels import ColourBar, FigureGroup, FigurePanel
from gradviz.figure.sheet import Sheet
from gradviz.figure.write import write_figure
from gradviz.heatmap.views import VIEWS, View
from gradviz.runs.schema import Done
from gradviz.text import one_line, shortened

if TYPE_CHECKING:
    from gradviz.commands.saliency.write import ResultWriter

LONGEST_UNIT = 20
"""The most characters of a unit that are shown."""

PICTURES = 3
"""The pictures of a result: the input, the overlay and the map."""


def print_results(sheet: Sheet, writer: ResultWriter, model: str, unit: str | None) -> None:
    """Draw the results of a run in its folder, if there are any.

    Args:
        sheet: the choices of the figure.
        writer: the writer of the run.
        model: the name of the model.
        unit: the unit of the output's numbers; None if it is not known.

    Raises:
        UsageError: an image is missing, or the disk refuses.
    """
    lines = [line for line in writer.folder.lines() if isinstance(line, Done)]
    if lines:
        title = f"{writer.settings.method} of {model}"
        known = shortened(one_line(unit or SCORE_UNIT), LONGEST_UNIT)
        write_figure(sheet, _groups(writer, lines, known), title)


def _groups(writer: ResultWriter, lines: Sequence[Done], unit: str) -> Iterator[FigureGroup]:
    """Read each result back as its input, the overlay, and its map in one view."""
    named = [view for view in writer.settings.views if not VIEWS[view].over_input]
    view = VIEWS[next(iter(named), "heatmap")]
    name = "input" if writer.settings.frame == "input" else "photo"
    for line in lines:
        result = writer.result(line)
        backdrop = writer.backdrop(result)
        overlay = writer.picture(result, "overlay", line.scales["heatmap"], backdrop)
        drawn = writer.picture(result, view.name, line.scales[view.name], backdrop)
        height, width, _ = backdrop.shape
        marks = mark_lines(result.marks, (width, height), writer.frame(result))
        panels = (
            FigurePanel(name, backdrop, marks),
            FigurePanel("overlay", np.asarray(overlay), marks),
            FigurePanel(view.name, np.asarray(drawn), marks, _bar(writer, line, view, unit)),
        )
        taken = line.answer or line.detection
        group_title = f"{line.image}, {line.seed}" + (f": {taken}" if taken else "")
        yield FigureGroup(one_line(group_title), (panels,))


def _bar(writer: ResultWriter, line: Done, view: View, unit: str) -> ColourBar | None:
    """Return the colour bar of a map; None for an evenly blank one, which has no scale.

    Args:
        writer: the writer of the run.
        line: the result.
        view: the view of the map.
        unit: the unit of the output's numbers.
    """
    scale = line.scales[view.name]
    if not scale > 0:
        return None
    low = -1 if view.signed else 0
    # As one row of a picture, so that every view paints it.
    black = np.zeros((1, 255, 3), np.uint8)
    ramp = view.paint(np.linspace(low, 1, 255).reshape(1, 1, -1), writer.palette, black)
    # A loss and the score of a box are no numbers of the output.
    of_output = line.detection is None and "loss:" not in line.seed
    at = METHODS[writer.settings.method].unit_at(line.layer, unit if of_output else SCORE_UNIT)
    return ColourBar(ramp.reshape(-1, 3), low * scale, scale, f"{view.symbol} ({at})")
