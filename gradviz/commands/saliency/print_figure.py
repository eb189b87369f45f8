"""`--figure`: the maps of a finished run beside their inputs, as one figure for print."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from gradviz.errors import UsageError
from gradviz.files import write_whole
from gradviz.heatmap.colours import Palette
from gradviz.heatmap.views import VIEWS, View
from gradviz.runs.names import is_result_path
from gradviz.runs.schema import DetectionEntry, Done
from gradviz.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradviz.commands.saliency.result import Attribution
    from gradviz.commands.saliency.write import ResultWriter

FIGURE_KINDS = ("png", "pdf", "svg")
"""The suffixes of the files that can be written."""

MOST_ROWS = 24
"""The most results that a figure shows, each in a row of its own."""

FIGURE_WIDTH = 7.2
"""Figure width in inches: the text width of a page."""

PICTURE_WIDTH = 1.9
"""The approximate width of a picture in inches."""

BAR_SHARE = 0.05
"""The width of a scale bar as a share of a picture's."""

DOTS_PER_INCH = 300
"""The resolution of a PNG."""

PRINT_STYLE: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.linewidth": 0.5,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "gradviz",  # the same figure is the same bytes
}

FigureRow = tuple[Done, "Attribution"]
"""A line of the run, and its result read back."""


def check_figure(path: Path, rows: int, array: str, read: Sequence[Path]) -> None:
    """Check early that a figure can be drawn and written.

    Args:
        path: the file of the figure.
        rows: the number of results if none fails.
        array: the choice of arrays to write, as in `Settings`.
        read: the files that the run reads, which must not be overwritten.

    Raises:
        UsageError: it is another kind of file, or one that the run reads; or has too many rows.
    """
    if _kind(path) not in FIGURE_KINDS:
        raise UsageError(f"--figure {path}: expected a file that ends in {', '.join(FIGURE_KINDS)}")
    if array == "none":
        raise UsageError("--figure draws from the arrays; leave out --array none")
    if rows > MOST_ROWS:
        raise UsageError(
            f"--figure: {rows} results are more than the {MOST_ROWS} rows of a figure; name fewer "
            "images or seeds"
        )
    if path.is_dir():
        raise UsageError(f"--figure {path}: is a folder; name a file in it")
    if path.exists() and any(file.exists() and path.samefile(file) for file in read):
        raise UsageError(f"--figure {path}: is a file that the run reads; name another one")


def check_apart(path: Path, out: Path, images: Sequence[str]) -> None:
    """Refuse a figure that would take the place of a result.

    Args:
        path: the file of the figure.
        out: the folder of the run.
        images: the names of the images.

    Raises:
        UsageError: a result lies there.
    """
    real, folder = Path(os.path.realpath(path)), Path(os.path.realpath(out))
    if real.is_relative_to(folder):
        below = real.relative_to(folder).as_posix()
        if any(is_result_path(below, image) for image in images):
            raise UsageError(f"--figure {path}: is the place of a result; name another file")


def write_figure(path: Path, writer: ResultWriter, title: str) -> None:
    """Draw the results of a run in its folder, if there are any.

    Args:
        path: the file of the figure.
        writer: the writer of the run.
        title: the text above all rows.

    Raises:
        UsageError: an image is missing, or the disk refuses.
    """
    views = [view for view in writer.settings.views if view != "overlay"]
    view = VIEWS[next(iter(views), "heatmap")]
    rows = [(line, writer.result(line)) for line in writer.folder.lines() if isinstance(line, Done)]
    if rows:
        drawn = partial(_draw_figure, kind=_kind(path), rows=rows, view=view)
        with _matplotlib():
            write_whole(path, partial(drawn, palette=writer.palette, title=title))


def _kind(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _draw_figure(
    file: BinaryIO, kind: str, rows: Sequence[FigureRow], view: View, palette: Palette, title: str
) -> None:
    """Draw each row's input, the overlay, and its map in one view with a scale bar.

    Args:
        file: the open file.
        kind: `png`, `pdf` or `svg`. In the latter two, pictures keep their own pixels.
        rows: the results.
        view: the view of the map beside the overlay.
        palette: the colour maps.
        title: the text above all rows.
    """
    from matplotlib.figure import Figure

    inputs = [result.prepared.shown for _, result in rows]
    heights = [PICTURE_WIDTH * shown.shape[0] / shown.shape[1] + 0.35 for shown in inputs]
    # A date would change the file each time; names may have letters that the font lacks.
    undated = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with _print_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = Figure(figsize=(FIGURE_WIDTH, sum(heights) + 0.5), layout="constrained")
        figure.suptitle(one_line(title), fontsize=9, parse_math=False)
        shares = {"height_ratios": heights, "width_ratios": [1, 1, 1, BAR_SHARE]}
        places = figure.subplots(len(rows), 4, squeeze=False, gridspec_kw=shares)
        for row, axes in zip(rows, places, strict=True):
            _draw_row(figure, row, axes, view, palette)
        for name, axis in zip(("input", "overlay", view.name), places[-1], strict=False):
            axis.set_xlabel(name)
        figure.savefig(file, format=kind, dpi=DOTS_PER_INCH, metadata=undated[kind])


@contextmanager
def _matplotlib() -> Iterator[None]:
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
def _print_style() -> Iterator[None]:
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()
        rcParams.update(PRINT_STYLE)
        yield


def _draw_row(
    figure: Figure, row: FigureRow, axes: Sequence[Axes], view: View, palette: Palette
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    line, result = row
    shown, scale = result.prepared.shown, line.scales[view.name]
    overlay = result.picture("overlay", line.scales["heatmap"], palette)
    pictures = shown, overlay, result.picture(view.name, scale, palette)
    *panels, bar = axes
    for axis, picture in zip(panels, pictures, strict=True):
        axis.imshow(np.asarray(picture), interpolation="none")
        axis.set_xticks([])
        axis.set_yticks([])
    taken = line.answer or line.detection
    if line.detection is not None:
        for axis in panels:
            _outline(axis, line.detection)
    title = f"{line.image}, {line.seed}" + (f": {taken}" if taken else "")
    _set_row_title(panels[0], one_line(title))
    if not scale > 0:
        bar.axis("off")  # an evenly blank picture has no scale
        return
    low = -1 if view.signed else 0
    # As one row of a picture, so that every view paints it.
    ramp = view.paint(np.linspace(low, 1, 255).reshape(1, 1, -1), palette, shown)
    colours = ListedColormap(ramp.reshape(-1, 3) / 255)
    figure.colorbar(ScalarMappable(Normalize(low * scale, scale), colours), cax=bar)


def _outline(axis: Axes, detection: DetectionEntry) -> None:
    """Draw the box of a detection over a panel, in white within black."""
    from matplotlib.patches import Rectangle

    if None in detection.box_in_input:
        return
    x0, y0, x1, y1 = (float(side or 0) for side in detection.box_in_input)
    for colour, width in (("black", 2.0), ("white", 0.8)):
        # Pixel 0 covers -0.5 to 0.5 in a panel, and 0 to 1 in a box.
        place = x0 - 0.5, y0 - 0.5
        axis.add_patch(
            Rectangle(place, x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=width)
        )


def _set_row_title(axis: Axes, title: str) -> None:
    """Put a title above the first panel of a row; if it is long, it goes on above the others."""
    axis.set_title(" ")  # keeps the height free: a long title itself would widen the column
    text = axis.annotate(title, (0, 1), (0, 4), "axes fraction", "offset points", parse_math=False)
    text.set_in_layout(False)
