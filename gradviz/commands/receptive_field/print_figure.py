"""`receptive-field --figure`: the fields of several output pixels in one picture of each image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, groupby
from typing import TYPE_CHECKING

import numpy as np

from gradviz.arrays import Box, Bytes
from gradviz.errors import UsageError
from gradviz.field.effective import CONTOURS
from gradviz.figure.panels import FigureGroup, FigureLine, FigurePanel, LegendKey, Rgb
from gradviz.figure.sheet import Sheet
from gradviz.figure.write import write_figure
from gradviz.text import one_line

if TYPE_CHECKING:
    from gradviz.commands.receptive_field.outline import FieldOutline

PIXEL_COLOURS: tuple[Rgb, ...] = (
    (0.84, 0.37, 0.00),
    (0.00, 0.45, 0.70),
    (0.00, 0.62, 0.45),
    (0.80, 0.47, 0.65),
    (0.00, 0.00, 0.00),
    (0.90, 0.62, 0.00),
    (0.34, 0.71, 0.91),
)
"""The colours of output pixels: those of Okabe and Ito, which the colour-blind tell apart, without
yellow, which is hard to see in white."""

CONTOUR_DASHES: tuple[tuple[float, ...], ...] = (1, 1.5), (4, 2), ()
"""The dashes of the contours, from the widest: dots, dashes, a solid line."""

BOX_DASHES = (6, 2, 1, 2)

LEAST_MARK = 0.012
"""The least side of the mark of an output pixel, as a share of the longer side of its panel."""

CLOSE_UP_WIDTH = 18.0
"""The least width of a close-up in millimetres."""

_WHITE: Rgb = (1.0, 1.0, 1.0)
_GRAY: Rgb = (0.35, 0.35, 0.35)


def check_pixels(pixels: int) -> None:
    """Check early that a figure has a colour for each output pixel.

    Args:
        pixels: the number of output pixels.

    Raises:
        UsageError: there are too many.
    """
    if pixels > len(PIXEL_COLOURS):
        raise UsageError(
            f"--figure: {pixels} pixels are more than its {len(PIXEL_COLOURS)} colours; ask for "
            "fewer with --pixel"
        )


def print_fields(
    sheet: Sheet, outlines: Iterable[FieldOutline], read: Callable[[str], Bytes], title: str
) -> None:
    """Draw the fields of a run, if there are any: those of an image in one group.

    Args:
        sheet: the choices of the figure.
        outlines: the fields, image by image.
        read: reads the picture [H, W, 3] of an image by its name.
        title: the text above all.

    Raises:
        ImageError: an image cannot be read any more, or was replaced.
        UsageError: the disk refuses.
    """
    images = [[*fields] for _, fields in groupby(outlines, lambda each: each.image)]
    if images:
        write_figure(sheet, (_group(fields, read, sheet) for fields in images), title)


def _group(
    fields: Sequence[FieldOutline], read: Callable[[str], Bytes], sheet: Sheet
) -> FigureGroup:
    image, shown = fields[0].image, fields[0].shown
    picture = read(image) if shown is None else shown
    # The means of many images may be more, and begin the colours anew.
    colours = dict(zip(fields, cycle(PIXEL_COLOURS), strict=False))
    lines = [_lines(field, colour, picture) for field, colour in colours.items()]
    whole = FigurePanel("", picture, tuple(line for each in lines for line in each))
    close_ups = [
        _close_up(field, part, colour, picture)
        for field, colour in colours.items()
        if (part := field.close_up) is not None
    ]
    most = max(1, int(sheet.column_width // CLOSE_UP_WIDTH))
    rows = [close_ups[n : n + most] for n in range(0, len(close_ups), most)]
    return FigureGroup(one_line(image), ((whole,), *map(tuple, rows)), _legend(colours))


def _close_up(field: FieldOutline, part: Box, colour: Rgb, picture: Bytes) -> FigurePanel:
    x0, y0, x1, y1 = part
    cut = picture[y0:y1, x0:x1]
    return FigurePanel(field.asked, cut, _lines(field, colour, cut), corner=(x0, y0))


def _lines(field: FieldOutline, colour: Rgb, picture: Bytes) -> tuple[FigureLine, ...]:
    """Draw a field: its box, its contours, and the output pixel.

    Args:
        field: the field.
        colour: the colour of its output pixel.
        picture: the picture of the panel [H, W, 3]; on it, the mark of the pixel is not too small.
    """
    lines = []
    if field.box is not None:
        lines.append(FigureLine(_rectangle(*field.box), colour, 0.6, BOX_DASHES, _WHITE))
    for around, dashes in zip(field.contours, CONTOUR_DASHES, strict=False):
        lines += [FigureLine(each, colour, 0.8, dashes, _WHITE) for each in around]
    x0, y0, x1, y1 = field.footprint
    more = LEAST_MARK * max(picture.shape)
    across, down = max(0, more - (x1 - x0)) / 2, max(0, more - (y1 - y0)) / 2
    mark = _rectangle(x0 - across, y0 - down, x1 + across, y1 + down)
    return (*lines, FigureLine(mark, colour, 1.0, edge=_WHITE))


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], np.float64)


def _legend(colours: dict[FieldOutline, Rgb]) -> tuple[LegendKey, ...]:
    """List the colours of the output pixels, and the dashes of the lines."""

    def key(text: str, colour: Rgb, dashes: tuple[float, ...] = ()) -> LegendKey:
        return LegendKey(text, FigureLine(np.empty((0, 2)), colour, 1.0, dashes))

    keys = [key(field.asked, colour) for field, colour in colours.items()]
    if any(field.contours for field in colours):
        styles = zip(CONTOURS[::-1], CONTOUR_DASHES[::-1], strict=True)
        keys += [key(f"{share} % of the effective field", _GRAY, each) for share, each in styles]
    if any(field.box for field in colours):
        keys.append(key("box of the structural field", _GRAY, BOX_DASHES))
    return tuple(keys)
