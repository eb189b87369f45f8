"""Pictures of differences, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gradviz.commands.compare.sides import (
    BOTH,
    ONLY_A,
    ONLY_B,
    NamedArray,
    difference_picture,
    sides_picture,
)
from gradviz.heatmap.colours import NONFINITE, load_palette

PALETTE = load_palette()
NEUTRAL = tuple(PALETTE.diverging_table[127])


def pixels(a: np.ndarray, b: np.ndarray, scale: float = 1) -> list[list[tuple[int, ...]]]:
    picture = np.asarray(difference_picture(a, b, scale, PALETTE))
    return [[tuple(map(int, pixel)) for pixel in row] for row in picture]


def test_masks_show_whose_each_pixel_is() -> None:
    a = np.array([[True, True], [False, False]])
    b = np.array([[True, False], [True, False]])
    assert pixels(a, b) == [[BOTH, ONLY_A], [ONLY_B, (0, 0, 0)]]


def test_what_grew_is_blue_and_what_shrank_is_red() -> None:
    ((more, same, less, beyond),) = pixels(np.array([[1.0, 5, 0, 9]]), np.array([[0.0, 5, 1, 0]]))
    assert more == tuple(PALETTE.diverging_table[-1])
    assert more[0] > more[2]
    assert less == tuple(PALETTE.diverging_table[0])
    assert less[2] > less[0]
    assert same == NEUTRAL
    assert beyond == more  # clipped


def test_the_scale_is_the_value_of_the_strongest_colour() -> None:
    ((little,),) = pixels(np.array([[1.0]]), np.array([[0.0]]), scale=127)
    assert little == tuple(PALETTE.diverging_table[127 + 1])


def test_channels_do_not_hide_each_other() -> None:
    a = np.array([1.0, -0.75]).reshape(2, 1, 1)
    b = np.array([0.5, 0.25]).reshape(2, 1, 1)  # differences 0.5 and -1
    assert pixels(a, b) == [[tuple(PALETTE.diverging_table[0])]]


def test_nan_is_green_and_equal_arrays_are_blank() -> None:
    a = np.array([[np.nan, np.inf, 3]], np.float32)
    assert pixels(a, a, scale=0) == [[NONFINITE, NONFINITE, NEUTRAL]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_in_one_of_the_two_is_green(bad: float) -> None:
    a, b = np.array([[bad, 3.0]]), np.array([[1.0, 3.0]])
    assert pixels(a, b) == pixels(b, a) == [[NONFINITE, NEUTRAL]]


def panels(picture: Image.Image, columns: int = 3) -> list[list[tuple[int, ...]]]:
    """The colours of each column of a picture, by how often they occur."""
    pixels = np.asarray(picture)
    found = []
    for part in np.array_split(pixels, columns, axis=1):
        colours, counts = np.unique(part.reshape(-1, 3), axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        found.append([tuple(map(int, colours[n])) for n in order])
    return found


def test_runs_share_a_scale_and_differences_have_their_own() -> None:
    first = NamedArray("a", np.full((1, 4, 4), 1.0, np.float32))
    later = [NamedArray("b", np.full((1, 4, 4), -4.0, np.float32)), NamedArray("c", first.values)]
    picture = sides_picture(first, later, 5, PALETTE)
    above, below = (
        panels(picture.crop((0, top, picture.width, top + picture.height // 2)))
        for top in (0, picture.height // 2)
    )
    table = PALETTE.diverging_table
    quarter = tuple(table[round(254 * (1 + 1 / 4) / 2)])  # 1 of 4
    assert [quarter in above[0][:2], tuple(table[0]) in above[1][:2]] == [True, True]
    assert tuple(table[-1]) in above[2][:2]  # 1 - -4 is 5 of 5
    assert [quarter in below[0][:2], quarter in below[1][:2]] == [True, True]
    assert NEUTRAL in below[2][:2]


def test_maps_without_channels_are_drawn_from_zero() -> None:
    first = NamedArray("a", np.array([[0.0, 2], [0, 2]]))
    picture = sides_picture(first, [NamedArray("b", first.values / 2)], 1, PALETTE)
    table = PALETTE.sequential_table
    a, b, _ = panels(picture)
    assert {tuple(table[0]), tuple(table[-1])} <= {*a[:3]}
    assert {tuple(table[0]), tuple(table[127])} <= {*b[:3]}
