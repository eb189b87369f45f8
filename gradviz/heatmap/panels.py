"""Pictures beside each other in one, with titles above and colour bars below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from gradviz.arrays import Bytes
from gradviz.text import one_line

LEAST_WIDTH = 256
"""The pixels that a picture is at least enlarged to, along its longer side."""

INK = (20, 20, 20)
PAPER = (255, 255, 255)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class ColourBar:
    """The values that the colours of a picture stand for."""

    colours: Bytes
    """[n, 3], from the lowest value to the highest."""
    low: float
    high: float


@dataclass(frozen=True)
class TitledPicture:
    """One picture with what stands around it."""

    title: str
    picture: Image.Image
    bar: ColourBar | None = None
    legend: str = ""
    """The text in place of a colour bar."""


def beside_each_other(rows: Sequence[Sequence[TitledPicture]]) -> Image.Image:
    """Put panels of one size in rows and columns.

    A small picture is enlarged by a whole number, so that its pixels stay squares.

    Args:
        rows: the panels, as many in each row.

    Returns:
        an RGB picture on white.
    """
    first = rows[0][0].picture
    times = max(1, -(-LEAST_WIDTH // max(first.size)))
    width, height = max(first.width * times, LEAST_WIDTH), first.height * times
    font = ImageFont.load_default(width / 20)
    line = round(width / 20 * 1.5)
    gap = line // 2
    columns, tall = len(rows[0]), height + round(3.2 * line)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, len(rows) * (tall + gap) + gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            x, y = gap + c * (width + gap), gap + r * (tall + gap)
            draw.text((x, y), _fitting(panel.title, font, width), INK, font)
            enlarged = panel.picture.convert("RGB").resize(
                (first.width * times, height), Image.Resampling.NEAREST
            )
            sheet.paste(enlarged, (x, y + line))
            below = y + line + height + line // 3
            if panel.bar is None:
                draw.text((x, below), _fitting(panel.legend, font, width), INK, font)
            else:
                _draw_bar(sheet, draw, panel.bar, (x, below, width, line), font)
    return sheet


def _draw_bar(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    bar: ColourBar,
    place: tuple[int, int, int, int],
    font: Font,
) -> None:
    """Draw a horizontal bar, and below it the values of its ends and of its middle.

    Args:
        sheet: the picture that it is drawn on.
        draw: the pen on that picture.
        bar: the colours and the values.
        place: x, y and the width of the bar, and the height of a line of text.
        font: the font of the values.
    """
    x, y, width, line = place
    shades = Image.fromarray(bar.colours[None]).resize(
        (width, 2 * line // 3), Image.Resampling.NEAREST
    )
    sheet.paste(shades, (x, y))
    draw.rectangle((x, y, x + width - 1, y + shades.height - 1), outline=INK)
    for share, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
        value = bar.low + share * (bar.high - bar.low) + 0.0  # -0 becomes 0
        at = (x + share * (width - 1), y + shades.height + line // 6)
        draw.text(at, f"{value:.3g}", INK, font, anchor=anchor)


def _fitting(text: str, font: Font, width: int) -> str:
    """Cut a text at the left until it fits the width: ends of paths tell files apart."""
    # The font that Pillow has with it lacks the sign of subtraction.
    text = one_line(text).replace("−", "-")
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"...{text}") > width:
        text = text[1:]
    return f"...{text}"
