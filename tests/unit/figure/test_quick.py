"""Panels drawn by Pillow alone: their places, their colour bars, their names."""

from __future__ import annotations

import numpy as np

from gradviz.arrays import Bytes
from gradviz.figure.panels import ColourBar, FigurePanel
from gradviz.figure.quick import quick_picture

RAMP = np.stack([np.arange(255, dtype=np.uint8)] * 3, axis=1)


def plain(height: int, width: int, colour: tuple[int, int, int]) -> Bytes:
    return np.full((height, width, 3), colour, np.uint8)


def test_pixels_stay_squares_of_one_size() -> None:
    small = plain(50, 100, (9, 0, 0))
    small[0, 0] = 1, 2, 3
    sheet = np.asarray(quick_picture(((FigurePanel("a", small), FigurePanel("b", small)),)))
    marked = np.argwhere((sheet == (1, 2, 3)).all(axis=2))
    assert len(marked) == 2 * 3 * 3  # enlarged three times, to 300 pixels
    assert {*marked[:, 0] - marked[0, 0]} == {0, 1, 2}
    assert ((sheet == (9, 0, 0)).all(axis=2)).sum() == 2 * (300 * 150 - 9)


def test_a_bar_goes_from_its_lowest_colour_to_its_highest() -> None:
    panel = FigurePanel("a", plain(256, 256, (200, 0, 0)), bar=ColourBar(RAMP, -1, 1, ""))
    pixels = np.asarray(quick_picture(((panel,),))).astype(int)
    rows = np.flatnonzero((pixels == (200, 0, 0)).all(axis=2).any(axis=1))
    bar = pixels[rows[-1] + 10, :, 0]
    gray = bar[(bar < 255) & (bar > 20)]
    assert len(gray) > 200 and (np.diff(gray) >= 0).all()


def test_long_names_keep_their_ends_and_stay_in_their_column() -> None:
    picture = plain(10, 256, (0, 0, 200))

    def with_names(*names: str) -> Bytes:
        return np.asarray(quick_picture((tuple(FigurePanel(name, picture) for name in names),)))

    changed = np.flatnonzero((with_names("x" * 300 + "end", "") != with_names("", "")).any((0, 2)))
    assert len(changed) and changed.max() < with_names("", "").shape[1] / 2
    ends = [with_names("x" * 300 + end, "") for end in ("one", "two")]
    assert (ends[0] != ends[1]).any()
