"""The places of a figure's parts: groups in columns, rows on pages, in millimetres.

x runs to the right and y down, from the upper left corner of a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from gradviz.figure.panels import ColourBar, FigureGroup, FigurePanel, LegendKey
from gradviz.figure.sheet import GUTTER, PAGE_HEIGHT, Sheet

TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 8.0, 7.0, 6.0
"""The sizes of text in points: the title of the figure, those of groups, and all else."""

LINE_HEIGHT = 1.25 * 25.4 / 72
"""The millimetres from one line of text to the next, for each point of its size."""

_MARGIN = 1.0
_GAP = 1.5
"""The millimetres between two pictures."""
_BAR = 1.8
"""The height of a colour bar."""
_SAMPLE = 6.0
"""The length of the line beside an entry of a legend."""
_TALLEST = 110.0
"""The largest height of a picture; a taller one is drawn narrower."""

Measure = Callable[[str, float], float]
"""`(text, size in points) -> its width in millimetres`."""


@dataclass(frozen=True)
class PlacedText:
    """A line of text."""

    x: float
    y: float
    """The upper edge."""
    text: str
    size: float
    align: str = "left"
    """The part of the text that lies at x: `left`, `center` or `right`."""


@dataclass(frozen=True)
class PlacedPart:
    """A picture, a colour bar or the line of a legend, in its rectangle."""

    x: float
    y: float
    width: float
    height: float
    part: FigurePanel | ColourBar | LegendKey


@dataclass
class SheetPage:
    """A page that is being filled, from the top."""

    width: float
    height: float = _MARGIN
    texts: list[PlacedText] = field(default_factory=list)
    parts: list[PlacedPart] = field(default_factory=list)
    names: tuple[str, ...] = ()
    """The names of the panels above."""

    @property
    def is_empty(self) -> bool:
        """True if it has no panel."""
        return not self.parts

    def write(self, lines: Sequence[str], place: tuple[float, float], size: float) -> None:
        """Write lines of text below a place (x, y)."""
        x, y = place
        self.texts += (
            PlacedText(x, y + n * LINE_HEIGHT * size, line, size) for n, line in enumerate(lines)
        )


def lay_out(
    groups: Iterable[FigureGroup], sheet: Sheet, title: str, measure: Measure
) -> Iterator[SheetPage]:
    """Place the groups on pages, those of a row beside each other.

    Groups are taken as they are needed, a row ahead.

    Args:
        groups: the results.
        sheet: the width and the columns. Only a PDF has more than one page.
        title: the text above the first row.
        measure: measures texts.
    """
    room = PAGE_HEIGHT if sheet.kind == "pdf" else float("inf")
    column = (sheet.width - 2 * _MARGIN - GUTTER * (sheet.columns - 1)) / sheet.columns
    page = SheetPage(sheet.width)
    head = wrapped(title, sheet.width - 2 * _MARGIN, TITLE_SIZE, measure)
    page.write(head, (_MARGIN, page.height), TITLE_SIZE)
    page.height += len(head) * LINE_HEIGHT * TITLE_SIZE + _GAP
    rest = iter(groups)
    while row := list(islice(rest, sheet.columns)):
        height = _Row(row, column, measure, page.names).height
        if not page.is_empty and page.height + height > room:
            yield page
            page = SheetPage(sheet.width)
        placed = _Row(row, column, measure, page.names)
        placed.put(page)
        page.names = placed.names
        page.height += placed.height + _GAP
    yield page


@dataclass(frozen=True)
class _Row:
    """Groups beside each other, with their pictures at the same height."""

    groups: Sequence[FigureGroup]
    column: float
    """The width of a group."""
    measure: Measure
    above: tuple[str, ...]
    """The names of the panels above this row."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(panel.name for panel in self.groups[0].rows[0])

    @property
    def _titles(self) -> list[list[str]]:
        return [wrapped(group.title, self.column, TEXT_SIZE, self.measure) for group in self.groups]

    @property
    def height(self) -> float:
        scratch = SheetPage(self.column)
        return max(self._put_group(scratch, n, group) for n, group in enumerate(self.groups))

    def put(self, page: SheetPage) -> None:
        top = page.height
        for n, group in enumerate(self.groups):
            self._put_group(page, n, group, top)

    def _put_group(self, page: SheetPage, n: int, group: FigureGroup, top: float = 0) -> float:
        """Place one group; return its height."""
        x, y = _MARGIN + n * (self.column + GUTTER), top
        titles = self._titles
        page.write(titles[n], (x, y), TEXT_SIZE)
        y += max(map(len, titles)) * LINE_HEIGHT * TEXT_SIZE
        across = 1
        for row, panels in enumerate(group.rows):
            # The pictures of a row that goes on are as wide as those above.
            across = len(panels) if across == 1 else max(across, len(panels))
            width = (self.column - _GAP * (across - 1)) / across
            y += self._put_names(page, row, panels, (x, y), width)
            y += self._put_panels(page, panels, (x, y), width) + _GAP
        return y + self._put_legend(page, group.legend, (x, y)) - top

    def _put_names(
        self,
        page: SheetPage,
        row: int,
        panels: Sequence[FigurePanel],
        place: tuple[float, float],
        width: float,
    ) -> float:
        """Place the names of panels, as much of them as one line takes; return their height."""
        if not self._is_named(row):
            return 0
        for n, panel in enumerate(panels):
            line = wrapped(panel.name, width, SMALL_SIZE, self.measure)[:1]
            page.write(line, (place[0] + n * (width + _GAP), place[1]), SMALL_SIZE)
        return LINE_HEIGHT * SMALL_SIZE

    def _is_named(self, n: int) -> bool:
        """Return True if names stand above the panels of the n-th row of each group.

        Those that stand above the first row already do for it as well.
        """
        rows = [group.rows[n] for group in self.groups if n < len(group.rows)]
        names = [tuple(panel.name for panel in row) for row in rows]
        return any(any(each) and (n > 0 or each != self.above) for each in names)

    def _put_panels(
        self,
        page: SheetPage,
        panels: Sequence[FigurePanel],
        place: tuple[float, float],
        most: float,
    ) -> float:
        """Place pictures of at most this width beside each other; return their height."""
        heights: list[float] = []
        for n, panel in enumerate(panels):
            x, y = place[0] + n * (most + _GAP), place[1]
            rows, columns = panel.picture.shape[:2]
            width = min(most, _TALLEST * columns / rows)
            height = width * rows / columns
            page.parts.append(PlacedPart(x, y, width, height, panel))
            if panel.bar is not None:
                height += _GAP / 2
                height += self._put_bar(page, panel.bar, (x, y + height), width)
            heights.append(height)
        return max(heights)

    def _put_bar(
        self, page: SheetPage, bar: ColourBar, place: tuple[float, float], width: float
    ) -> float:
        """Place a colour bar with its numbers and its label below it; return its height."""
        x, y = place
        page.parts.append(PlacedPart(x, y, width, _BAR, bar))
        below = y + _BAR + 0.4
        ends = number(bar.low), number(bar.high)
        page.texts.append(PlacedText(x, below, ends[0], SMALL_SIZE))
        free = width - sum(self.measure(end, SMALL_SIZE) for end in ends)
        digit, line = self.measure("0", SMALL_SIZE), LINE_HEIGHT * SMALL_SIZE
        if bar.low < 0 < bar.high and free > 3 * digit:
            zero = x + width * -bar.low / (bar.high - bar.low)
            page.texts.append(PlacedText(zero, below, "0", SMALL_SIZE, "center"))
        if free < digit:  # the highest value has a line of its own
            below += line
        page.texts.append(PlacedText(x + width, below, ends[1], SMALL_SIZE, "right"))
        label = wrapped(bar.label, width, SMALL_SIZE, self.measure)
        page.write(label, (x, below + line), SMALL_SIZE)
        return below - y + (1 + len(label)) * line

    def _put_legend(
        self, page: SheetPage, legend: Sequence[LegendKey], place: tuple[float, float]
    ) -> float:
        """Place the entries of a legend in as many lines as they need; return their height."""
        (left, top), line = place, LINE_HEIGHT * SMALL_SIZE
        x, y, bottom = left, top, top
        for key in legend:
            room = self.column - _SAMPLE - _GAP
            text = wrapped(key.text, room, SMALL_SIZE, self.measure)
            width = _SAMPLE + _GAP + max(self.measure(each, SMALL_SIZE) for each in text)
            if x > left and x + width > left + self.column:
                x, y = left, bottom
            page.parts.append(PlacedPart(x, y, _SAMPLE, line, key))
            page.write(text, (x + _SAMPLE + _GAP / 2, y), SMALL_SIZE)
            x, bottom = x + width + _GAP, max(bottom, y + len(text) * line)
        return bottom - top


def number(value: float) -> str:
    """Write a number with three digits, as in print: −0.013, 1.3×10⁻⁵."""
    digits, _, exponent = f"{value:.3g}".replace("-", "−").partition("e")
    if not exponent:
        return digits
    power = str(int(exponent.replace("−", "-"))).translate(
        str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    )
    return f"{digits}×10{power}"


def wrapped(text: str, width: float, size: float, measure: Measure) -> list[str]:
    """Break a text into lines, between words if they fit.

    Args:
        text: one line of text.
        width: the longest line in millimetres.
        size: the size of the text in points.
        measure: measures texts.
    """
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if measure(longer, size) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and measure(lines[-1] + letter, size) > width:
                lines.append("")
            lines[-1] += letter
    return lines if text else []
