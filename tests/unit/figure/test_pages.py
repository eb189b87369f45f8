"""Where the parts of a figure lie, in a font whose letters are all as wide as half their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gradviz.figure.pages import SheetPage, lay_out, number, wrapped
from gradviz.figure.panels import ColourBar, FigureGroup, FigureLine, FigurePanel, LegendKey
from gradviz.figure.sheet import GUTTER, PAGE_HEIGHT, Sheet

POINT = 25.4 / 72


def measure(text: str, size: float) -> float:
    return len(text) * size / 2 * POINT


def panel(
    name: str = "input", high: float = 0.0356, shape: tuple[int, int] = (20, 30)
) -> FigurePanel:
    bar = ColourBar(np.zeros((255, 3), np.uint8), -high, high, "Σ|g| (score / input)")
    return FigurePanel(name, np.zeros((*shape, 3), np.uint8), bar=bar)


def group(title: str = "a.png, ones", names: str = "abc") -> FigureGroup:
    key = LegendKey("box of the structural field", FigureLine(np.empty((0, 2)), (0, 0, 0)))
    return FigureGroup(title, (tuple(panel(name) for name in names),), (key,) * 4)


def pages(
    groups: list[FigureGroup], path: str = "f.pdf", width: float = 88, columns: int = 1
) -> list[SheetPage]:
    return [*lay_out(groups, Sheet(Path(path), width, columns), "gradient of net.ts", measure)]


@pytest.mark.parametrize(("width", "columns"), [(88, 1), (88, 2), (183, 3), (36, 1)])
def test_everything_lies_on_the_page_and_apart(width: float, columns: int) -> None:
    groups = [group(f"{'long' * n} name {n}.png, pixel:3,4 - 0.5*pixel:5,6") for n in range(12)]
    boxes = []
    for page in pages(groups, width=width, columns=columns):
        placed = []
        for text in page.texts:
            wide = measure(text.text, text.size)
            x = text.x - {"left": 0, "center": wide / 2, "right": wide}[text.align]
            placed.append((x, text.y, x + wide, text.y + text.size * POINT))
        placed += [(p.x, p.y, p.x + p.width, p.y + p.height) for p in page.parts]
        for x0, y0, x1, y1 in placed:
            assert x0 >= 0 and y0 >= 0 and x1 <= width + 1e-9 and y1 <= page.height + 1e-9
        for n, one in enumerate(placed):
            for other in placed[:n]:
                across = min(one[2], other[2]) - max(one[0], other[0])
                down = min(one[3], other[3]) - max(one[1], other[1])
                assert across < 1e-6 or down < 1e-6, (one, other)
        boxes += placed
    assert len(boxes) >= 12 * (3 + 3 + 4)


def test_a_pdf_alone_has_pages() -> None:
    groups = [group() for _ in range(30)]
    assert len(pages(groups, "f.png")) == len(pages(groups, "f.svg")) == 1
    found = pages(groups)
    assert len(found) > 1 and max(page.height for page in found) <= PAGE_HEIGHT
    pictures = [part for page in found for part in page.parts if isinstance(part.part, FigurePanel)]
    assert len(pictures) == 30 * 3
    # A page is full: one more row would not have fitted.
    one, two = (pages(groups[:n], "f.png")[0].height for n in (1, 2))
    assert found[0].height + two - one > PAGE_HEIGHT


def test_pictures_keep_their_shape_and_stand_in_columns() -> None:
    (page,) = pages([group(), group("b" * 200), group(), group()], "f.png", 183, 2)
    pictures = [part for part in page.parts if isinstance(part.part, FigurePanel)]
    assert all(part.width / part.height == pytest.approx(30 / 20) for part in pictures)
    assert len({round(part.width, 6) for part in pictures}) == 1
    assert len({round(part.x, 6) for part in pictures}) == 6
    right, left = pictures[2].x + pictures[2].width, pictures[3].x
    assert left - right == pytest.approx(GUTTER)
    # Beside a title of several lines, the pictures of a row stand at the same height.
    assert len({round(part.y, 6) for part in pictures}) == 2


def test_names_stand_once_above_pictures_of_the_same_names() -> None:
    (page,) = pages([group(), group(), group(names="xyz")], "f.png")
    texts = [text.text for text in page.texts]
    assert [texts.count(name) for name in "abcxyz"] == [1] * 6


def test_a_row_that_goes_on_has_pictures_of_the_same_width() -> None:
    rows = (panel("whole"),), (panel("p"), panel("q"), panel("r")), (panel("s"),)
    (page,) = pages([FigureGroup("a.png", rows)], "f.png")
    widths = {
        part.part.name: part.width for part in page.parts if isinstance(part.part, FigurePanel)
    }
    assert widths["whole"] == pytest.approx(86)
    assert widths["p"] == widths["q"] == widths["r"] == widths["s"] < 30


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.03561, "−0.0356"), (62.94, "62.9"), (1.3e-5, "1.3×10⁻⁵"), (-2e12, "−2×10¹²")],
)
def test_numbers_as_in_print(value: float, text: str) -> None:
    assert number(value) == text


def test_long_texts_are_broken_between_words_if_they_can_be() -> None:
    ten = measure("x" * 10, 6)
    assert wrapped("one two three four", ten, 6, measure) == ["one two", "three four"]
    assert wrapped("a longer-than-a-line b", ten, 6, measure) == ["a", "longer-tha", "n-a-line b"]
    assert wrapped("", ten, 6, measure) == []
