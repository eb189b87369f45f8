"""Pictures of fields, pixel by pixel."""

from __future__ import annotations

from io import BytesIO
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from gradviz.arrays import Mask
from gradviz.field.pictures import (
    BOX,
    DARK,
    DIM,
    FOOTPRINT,
    OUTLINE,
    Colour,
    effective_picture,
    mask_picture,
    overlay_picture,
)
from gradviz.heatmap.colours import NONFINITE, Palette, load_palette

STEPS = np.repeat(np.arange(255, dtype=np.uint8)[:, None], 3, axis=1)
RAMP = Palette(STEPS, STEPS)
"""A palette whose colours are their own numbers, 0 to 254."""

NOWHERE = (-9, -9, -8, -8)
"""A footprint too far from the image to be seen."""

LETTERS = {OUTLINE: "o", DARK: "#", BOX: "b", FOOTPRINT[0]: "f", FOOTPRINT[1]: "F"}


def drawn(mask: Mask, box: Any = None, footprint: Any = NOWHERE, gray: int = 100) -> list[str]:
    """An overlay on an even image as letters: `.` untouched, `,` dimmed."""
    backdrop = np.full((*mask.shape, 3), gray, np.uint8)
    pixels = np.asarray(overlay_picture(backdrop, mask, box, footprint))
    letters = LETTERS | {(gray,) * 3: ".", (round(DIM * gray),) * 3: ","}
    return ["".join(letters[tuple(pixel)] for pixel in row) for row in pixels.tolist()]


def from_letters(rows: list[str]) -> Mask:
    return np.array([[letter == "x" for letter in row] for row in rows])


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (8, 16), (3, 130)])
def test_a_mask_is_a_1_bit_png_of_exactly_its_pixels(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.5
    for given_mask in (mask, mask.T, mask[:, ::-1], ~mask):
        file = BytesIO()
        mask_picture(given_mask).save(file, "png")
        with Image.open(file) as picture:
            assert picture.mode == "1"
            assert (np.asarray(picture) == given_mask).all()


def steps(energy: Any, **options: Any) -> list[int]:
    """The numbers of the colours of a row of energies."""
    picture = effective_picture(np.array([energy], float), RAMP, **options)
    return [int(step) for step in np.asarray(picture)[0, :, 0]]


@pytest.mark.parametrize("unit", [1, 1e-300, 1e300])
def test_energy_is_linear_up_to_the_clip(unit: float) -> None:
    energy = np.array([0, 1, 2, 3, 4, 8]) * unit
    assert steps(energy, clip=100) == [0, 32, 64, 95, 127, 254]
    # The median of 1, 2, 3, 4, 8 is 3; zero does not count.
    assert steps(energy, clip=50) == [0, 85, 169, 254, 254, 254]


@pytest.mark.parametrize("unit", [1, 1e-300, 1e300])
def test_the_logarithm_gives_each_decade_a_fifth(unit: float) -> None:
    energy = np.array([0, 1e-9, 1e-4, 1e-3, 1e-2, 1e-1, 1]) * unit
    # log₁₀(1 + 10ⁿ) is within 0.05 of n for n ≥ 1; 254 is the highest of the colours.
    expected = [0, 0, 254 / 5, 254 * 2 / 5, 254 * 3 / 5, 254 * 4 / 5, 254]
    assert steps(energy, log=True) == pytest.approx(expected, abs=3)


@given(st.lists(st.floats(0, 1e30), min_size=2, max_size=30).map(sorted), st.booleans())
def test_more_energy_is_never_a_lower_colour(energy: list[float], log: bool) -> None:
    found = steps(energy, log=log)
    assert found == sorted(found)
    assert all(step == 0 for step, value in zip(found, energy, strict=True) if value == 0)


@pytest.mark.parametrize("log", [False, True])
def test_zero_is_the_darkest_colour(log: bool) -> None:
    palette = load_palette()
    pixels = np.asarray(effective_picture(np.array([[0, 1e-3, 1.0]]), palette, log))[0].astype(int)
    assert pixels[0].tolist() == palette.sequential_table[0].tolist()
    assert pixels[0].sum() == palette.sequential_table.sum(axis=1).min()
    assert pixels[2].tolist() == palette.sequential_table[-1].tolist()


@pytest.mark.parametrize("log", [False, True])
def test_a_map_without_energy_is_blank(log: bool) -> None:
    assert steps([0, 0, 0], log=log) == [0, 0, 0]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_painted_so(value: float, log: bool) -> None:
    pixels = np.asarray(effective_picture(np.array([[0, value, 2]]), RAMP, log))[0]
    assert pixels.tolist() == [[0, 0, 0], list(NONFINITE), [254, 254, 254]]


def test_the_outline_is_the_inner_edge_with_a_dark_line_outside() -> None:
    mask = from_letters(
        [
            "..........",
            "..xxxxx...",
            "..xxxxxx..",
            "..xxxxxx..",
            "..xxxxxx..",
            "..........",
        ]
    )
    assert drawn(mask) == [
        ",,#####,,,",
        ",#ooooo#,,",
        ",#o....o#,",
        ",#o....o#,",
        ",#oooooo#,",
        ",,######,,",
    ]


def test_a_hole_shows_and_the_outline_closes_at_the_border() -> None:
    mask = np.ones((7, 7), bool)
    mask[3, 3] = False
    assert drawn(mask) == [
        "ooooooo",
        "o.....o",
        "o..o..o",
        "o.o#o.o",
        "o..o..o",
        "o.....o",
        "ooooooo",
    ]


@given(
    st.integers(1, 8).flatmap(
        lambda height: st.integers(1, 8).flatmap(lambda width: arrays(np.bool_, (height, width)))
    ),
    st.integers(1, 255),
)
def test_every_pixel_by_brute_force(mask: Mask, gray: int) -> None:
    height, width = mask.shape
    image = np.random.default_rng(gray).integers(0, 256, (height, width, 3), np.uint8)
    before = image.copy()
    found = np.asarray(overlay_picture(image, mask, None, NOWHERE))
    for y in range(height):
        for x in range(width):
            neighbours = [
                bool(mask[v, u]) if 0 <= v < height and 0 <= u < width else False
                for u, v in ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1))
            ]
            expected: Any = before[y, x]
            if mask[y, x] and not all(neighbours):
                expected = OUTLINE
            elif not mask[y, x]:
                dimmed = [round(DIM * float(value)) for value in before[y, x]]
                expected = DARK if any(neighbours) else dimmed
            assert found[y, x].tolist() == list(expected)
    assert (image == before).all()


def test_the_box_is_dashed_around_its_pixels() -> None:
    mask = np.zeros((8, 12), bool)
    assert drawn(mask, (2, 1, 9, 6)) == [
        ",bbb####bb,,",
        ",b,,,,,,,b,,",
        ",b,,,,,,,b,,",
        ",#,,,,,,,#,,",
        ",#,,,,,,,#,,",
        ",#,,,,,,,#,,",
        ",#bbbb####,,",
        ",,,,,,,,,,,,",
    ]


def test_a_clipped_side_of_the_box_is_open() -> None:
    mask = np.zeros((4, 7), bool)
    assert drawn(mask, (0, 0, 4, 4)) == [",,,,#,,", ",,,,#,,", ",,,,#,,", ",,,,#,,"]
    assert drawn(mask, (4, 2, 7, 4)) == [",,,,,,,", ",,,####", ",,,#,,,", ",,,#,,,"]
    assert drawn(mask, (0, 0, 7, 4)) == [",,,,,,,"] * 4


@pytest.mark.parametrize(
    "footprint",
    [
        (4, 3, 6, 4),
        (4.0, 3.2, 6.0, 3.9),
        (4 - 1e-9, 3 - 1e-9, 6 + 1e-9, 4 + 1e-9),
        (4.9, 3, 5.1, 3),
    ],
)
def test_the_footprint_is_framed_twice_around_the_pixels_it_touches(footprint: Any) -> None:
    mask = np.ones((8, 10), bool)
    expected = [
        "oooooooooo",
        "o.FFFFFF.o",
        "o.FffffF.o",
        "o.Ff..fF.o",
        "o.FffffF.o",
        "o.FFFFFF.o",
        "o........o",
        "oooooooooo",
    ]
    assert drawn(mask, footprint=footprint) == expected
    x0, y0, x1, y1 = footprint
    columns = ["".join(column) for column in zip(*expected, strict=True)]
    assert drawn(mask.T, footprint=(y0, x0, y1, x1)) == columns


def test_a_footprint_at_the_border_is_open_there() -> None:
    mask = np.zeros((4, 5), bool)
    assert drawn(mask, footprint=(0, 0, 1, 1)) == [",fF,,", "ffF,,", "FFF,,", ",,,,,"]
    assert drawn(mask, footprint=(0, 0, 5, 4)) == [",,,,,"] * 4


def test_the_field_by_lines_from_the_lowest_to_the_topmost() -> None:
    mask = from_letters(["........", "........", "..xxxxx.", "..xxxxx.", "..xxxxx.", "........"])
    assert drawn(mask, (2, 2, 7, 5), (3, 3, 4, 4)) == [
        ",,,,,,,,",
        ",FFFFF#b",
        ",FfffFob",
        ",Ff.fFob",
        ",FfffFob",
        ",FFFFFb#",
    ]


@pytest.mark.parametrize(("size", "width"), [(128, 1), (512, 1), (800, 2), (2048, 5)])
def test_lines_grow_with_the_image(size: int, width: int) -> None:
    mask = np.zeros((80, size), bool)
    mask[:, :60] = True
    box = (0, 0, 71, 80)
    rows = drawn(mask, box, (30, 40, 31, 41))
    row = rows[40]
    frame = "F" * width + "f" * width
    until = "." * (30 - 3 * width)
    edge = "o" * width
    middle = edge + until + frame + "." + frame[::-1] + "." * (29 - 3 * width) + edge
    assert row[: 60 + width] == middle + "#" * width
    assert row[60 + width : 71] == "," * (11 - width)
    assert set(row[71 : 71 + width]) <= {"b", "#"}
    assert set(row[71 + width :]) == {","}
    dashes = [len(list(run)) for _, run in groupby(row[71] for row in rows)]
    assert len(dashes) > 3 and set(dashes[1:-1]) == {4 * width}


def luminance(colour: Colour) -> float:
    """Relative luminance of an sRGB colour, as WCAG 2 defines it."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (value / 255 for value in colour)
    ]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: Colour, other: Colour) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("gray", range(0, 256, 17))
@pytest.mark.parametrize("tones", [(OUTLINE, DARK), (BOX, DARK), FOOTPRINT])
def test_one_tone_of_every_line_stands_out_on_any_image(
    tones: tuple[Colour, Colour], gray: int
) -> None:
    assert max(contrast(tone, (gray, gray, gray)) for tone in tones) >= 2
