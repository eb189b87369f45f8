"""Pictures beside each other: their places, their colour bars, their titles."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gradviz.heatmap.panels import ColourBar, TitledPicture, beside_each_other

RAMP = np.stack([np.arange(255, dtype=np.uint8)] * 3, axis=1)


def test_pixels_stay_squares_of_one_size() -> None:
    small = Image.new("RGB", (100, 50), (9, 0, 0))
    small.putpixel((0, 0), (1, 2, 3))
    sheet = np.asarray(beside_each_other([[TitledPicture("a", small), TitledPicture("b", small)]]))
    marked = np.argwhere((sheet == (1, 2, 3)).all(axis=2))
    assert len(marked) == 2 * 3 * 3  # enlarged three times, to 300 pixels
    assert len({tuple(place) for place in marked[:, :1] - marked[0, 0]}) == 3
    assert ((sheet == (9, 0, 0)).all(axis=2)).sum() == 2 * (300 * 150 - 9)


def test_a_bar_goes_from_its_lowest_colour_to_its_highest() -> None:
    picture = Image.new("RGB", (256, 256), (200, 0, 0))
    sheet = beside_each_other([[TitledPicture("a", picture, ColourBar(RAMP, -1, 1))]])
    pixels = np.asarray(sheet).astype(int)
    rows = np.flatnonzero((pixels == (200, 0, 0)).all(axis=2).any(axis=1))
    bar = pixels[rows[-1] + 10, :, 0]
    gray = bar[(bar < 255) & (bar > 20)]
    assert len(gray) > 200 and (np.diff(gray) >= 0).all()


def test_long_titles_keep_their_ends_and_stay_in_their_column() -> None:
    picture = Image.new("RGB", (256, 10), (0, 0, 200))
    long = [TitledPicture("x" * 300 + "end", picture), TitledPicture("", picture)]
    short = [TitledPicture("", picture), TitledPicture("", picture)]
    with_title, without = (np.asarray(beside_each_other([row])) for row in (long, short))
    changed = np.flatnonzero((with_title != without).any(axis=(0, 2)))
    assert len(changed) and changed.max() < with_title.shape[1] / 2
