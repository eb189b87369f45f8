"""Maps beside their inputs, as one figure for print."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from gradviz.arrays import Bytes, Floats
from gradviz.heatmap.colours import Palette
from gradviz.heatmap.draw import draw
from gradviz.heatmap.views import VIEWS, View

WIDTH = 7.2
"""Of the figure in inches: the text of a page."""

ROW = 1.9
"""The width of a picture in inches, about."""

BAR = 0.05
"""The width of a scale bar beside a picture's 1."""

DOTS_PER_INCH = 300
"""Of a PNG."""

STYLE: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.linewidth": 0.5,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "gradviz",  # the same figure is the same bytes
}


@dataclass(frozen=True, eq=False)
class Row:
    """One result."""

    name: str
    """The image and the seed."""
    g: Floats
    """The gradient or attribution [C, h, w], channels in the picture's order."""
    shown: Bytes
    """The input [H, W, 3]."""
    scale: float
    """What gets the view's strongest colour."""
    heat: float
    """What gets the overlay's."""


def write_figure(
    file: BinaryIO, kind: str, rows: Sequence[Row], view: View, palette: Palette, title: str
) -> None:
    """Draw each row's input, the overlay, and its map in one view with a scale bar.

    Args:
        kind: `png`, `pdf` or `svg`. In the latter two, pictures keep their own pixels.
        title: of the whole.
    """
    heights = [ROW * row.shown.shape[0] / row.shown.shape[1] + 0.35 for row in rows]
    # A date would make every file another; names may have letters that the font lacks.
    undated = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout="constrained")
        figure.suptitle(title, fontsize=9, parse_math=False)
        shares = {"height_ratios": heights, "width_ratios": [1, 1, 1, BAR]}
        places = figure.subplots(len(rows), 4, squeeze=False, gridspec_kw=shares)
        for row, axes in zip(rows, places, strict=True):
            _draw(figure, row, axes, view, palette)
        for name, axis in zip(("input", "overlay", view.name), places[-1], strict=False):
            axis.set_xlabel(name)
        figure.savefig(file, format=kind, dpi=DOTS_PER_INCH, metadata=undated[kind])


def _draw(figure: Figure, row: Row, axes: Sequence[Axes], view: View, palette: Palette) -> None:
    pictures = (
        row.shown,
        draw(row.g, VIEWS["overlay"], row.heat, palette, row.shown),
        draw(row.g, view, row.scale, palette, row.shown),
    )
    *panels, bar = axes
    for axis, picture in zip(panels, pictures, strict=True):
        axis.imshow(np.asarray(picture), interpolation="none")
        axis.set_xticks([])
        axis.set_yticks([])
    panels[0].set_title(row.name, loc="left", parse_math=False)
    if not row.scale > 0:
        bar.axis("off")  # an evenly blank picture has no scale
        return
    low = -1 if view.signed else 0
    # As one row of a picture, so that every view paints it.
    ramp = view.paint(np.linspace(low, 1, 255).reshape(1, 1, -1), palette, row.shown)
    colours = ListedColormap(ramp.reshape(-1, 3) / 255)
    figure.colorbar(ScalarMappable(Normalize(low * row.scale, row.scale), colours), cax=bar)
