"""`saliency --figure`: the maps of a finished run beside their inputs, as one figure for print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradviz.backward.methods import METHODS, SCORE_UNIT
from gradviz.figure.marks import mark_lines
from gradviz.figure.panels import (
    ColourBar,
    FigureGroup,
    FigureLine,
    FigurePanel,
    LegendKey,
    Rgb,
)
from gradviz.figure.sheet import Sheet
from gradviz.figure.write import write_figure
from gradviz.heatmap.output import output_palette
from gradviz.heatmap.views import OUTPUT, VIEWS, View
from gradviz.runs.schema import Done
from gradviz.text import one_line, shortened

if TYPE_CHECKING:
    from gradviz.commands.saliency.settings import Settings
    from gradviz.commands.saliency.write import ResultWriter

LONGEST_PANEL = 36
"""The most characters of the name of a panel."""

LONGEST_UNIT = 20
"""The most characters of a unit that are shown."""


def count_panels(settings: Settings) -> int:
    """Count the pictures of a result: the input, the overlay, the map, and the output if asked."""
    return 4 if OUTPUT in settings.views else 3


def print_results(sheet: Sheet, writer: ResultWriter, model: str, unit: str | None) -> None:
    """Draw the results of a run in its folder, if there are any, without the mean over images.

    Args:
        sheet: the choices of the figure.
        writer: the writer of the run.
        model: the name of the model.
        unit: the unit of the output's numbers; None if it is not known.

    Raises:
        UsageError: an image is missing, or the disk refuses.
    """
    lines = [each for each in writer.folder.lines() if isinstance(each, Done) and not each.over]
    if lines:
        title = f"{writer.settings.method} of {model}"
        known = shortened(one_line(unit or SCORE_UNIT), LONGEST_UNIT)
        write_figure(sheet, _groups(writer, lines, known), title)


def _groups(writer: ResultWriter, lines: Sequence[Done], unit: str) -> Iterator[FigureGroup]:
    """Read each result back as its input, the overlay, its map in one view, and its output."""
    named = [view for view in writer.settings.gradient_views if not VIEWS[view].over_input]
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
            *_output_panel(writer, line, marks, unit),
        )
        taken = line.answer or line.detection
        group_title = f"{line.image}, {line.seed}" + (f": {taken}" if taken else "")
        yield FigureGroup(one_line(group_title), (panels,), _legend(line))


def _output_panel(
    writer: ResultWriter, line: Done, marks: tuple[FigureLine, ...], unit: str
) -> tuple[FigurePanel, ...]:
    """Return the panel of the output, if the run drew it."""
    entry = line.output
    picture = writer.output_picture(line)
    if entry is None or picture is None:
        return ()
    bar = None
    if entry.low is not None and entry.high is not None:
        colours = output_palette().sequential_table
        bar = ColourBar(colours, entry.low, entry.high, f"output ({unit})")
    named = entry.lines[:1] if entry.shows in ("values", "class") else []
    name = shortened(one_line(", ".join([OUTPUT, *named])), LONGEST_PANEL)
    return (FigurePanel(name, picture, marks, bar),)


def _legend(line: Done) -> tuple[LegendKey, ...]:
    """Return the classes of the output that are drawn in colours, if there are any."""
    entry = line.output
    if entry is None or entry.size is None:
        return ()
    return tuple(
        LegendKey(one_line(text), FigureLine(np.empty((0, 2)), _rgb(colour), width=3.0))
        for text, colour in zip(entry.lines, entry.colours, strict=False)
    )


def _rgb(colour: str) -> Rgb:
    """Read #rrggbb."""
    red, green, blue = (level / 255 for level in bytes.fromhex(colour.removeprefix("#")))
    return red, green, blue


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
