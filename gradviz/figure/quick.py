"""Drawing panels by Pillow alone, for many pictures: matplotlib takes 0.2 s for each."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from gradviz.figure.panels import ColourBar, FigurePanel
from gradviz.text import one_line

LEAST_PIXELS = 256
"""The pixels that the longer side of a picture is at least enlarged to."""

INK = (20, 20, 20)
PAPER = (255, 255, 255)

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def quick_picture(rows: tuple[tuple[FigurePanel, ...], ...]) -> Image.Image:
    """Draw panels in rows and columns, each with its name above and its colour bar below.

    A small picture is enlarged by a whole number, so that its pixels stay squares.

    Args:
        rows: the panels, as many in each row, their pictures of one size.

    Returns:
        an RGB picture on white.
    """
    rows_of_first, columns_of_first = rows[0][0].picture.shape[:2]
    times = max(1, -(-LEAST_PIXELS // max(rows_of_first, columns_of_first)))
    size = columns_of_first * times, rows_of_first * times
    width, height = max(size[0], LEAST_PIXELS), size[1]
    font = ImageFont.load_default(width / 20)
    line = round(width / 20 * 1.5)
    gap = line // 2
    tall = height + round(4.2 * line)
    sheet = Image.new(
        "RGB", (len(rows[0]) * (width + gap) + gap, len(rows) * (tall + gap) + gap), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    for r, panels in enumerate(rows):
        for c, panel in enumerate(panels):
            x, y = gap + c * (width + gap), gap + r * (tall + gap)
            draw.text((x, y), _fitting(panel.name, font, width), INK, font)
            enlarged = Image.fromarray(panel.picture).resize(size, Image.Resampling.NEAREST)
            sheet.paste(enlarged, (x, y + line))
            if panel.bar is not None:
                below = y + line + height + line // 3
                _draw_bar(sheet, panel.bar, (x, below, width, line), font)
    return sheet


def _draw_bar(
    sheet: Image.Image, bar: ColourBar, place: tuple[int, int, int, int], font: _Font
) -> None:
    """Draw a horizontal bar; below it the values of its ends and of its middle, and its label.

    Args:
        sheet: the picture that it is drawn on.
        bar: the colours, the values and the label.
        place: x, y and the width of the bar, and the height of a line of text.
        font: the font of the text.
    """
    x, y, width, line = place
    draw = ImageDraw.Draw(sheet)
    shades = Image.fromarray(bar.colours[None]).resize(
        (width, 2 * line // 3), Image.Resampling.NEAREST
    )
    sheet.paste(shades, (x, y))
    draw.rectangle((x, y, x + width - 1, y + shades.height - 1), outline=INK)
    below = y + shades.height + line // 6
    for share, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
        value = bar.low + share * (bar.high - bar.low) + 0.0  # -0 becomes 0
        draw.text((x + share * (width - 1), below), f"{value:.3g}", INK, font, anchor=anchor)
    draw.text((x, below + line), _fitting(bar.label, font, width), INK, font)


def _fitting(text: str, font: _Font, width: int) -> str:
    """Cut a text at the left until it fits the width: ends of paths tell files apart."""
    # The font that comes with Pillow lacks the sign of subtraction and Greek letters.
    text = one_line(text).replace("−", "-").replace("Σ", "sum of ")
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"...{text}") > width:
        text = text[1:]
    return f"...{text}"
