"""A padded input: what is written in the photo's pixels, and what belongs to none of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.commands import Gradviz, failed, line
from tests.helpers.formats import script

SQUARES = "x.square()"
"""Its gradient is 2x: the input itself, seen in the file `gradient.npy`."""


@pytest.fixture
def photo(gradviz: Gradviz) -> Path:
    """A white picture of 8×4 pixels with a black one at (5, 1)."""
    pixels = np.full((4, 8), 255, np.uint8)
    pixels[1, 5] = 0
    Image.fromarray(pixels).save("photo.png")
    return Path("photo.png")


def test_a_letterbox(gradviz: Gradviz, photo: Path) -> None:
    model = script(SQUARES, "squares.ts")
    given = ("saliency", model, photo, "--letterbox", 16, "--channels", "gray", "--frame", "image")
    result = gradviz(*given, "--interpolation", "nearest", "--view", "gray", "--seed", "at:5,1")
    assert result.exit_code == 0, result.stderr
    gradient = np.load("gradviz-out/photo.png/at-5-1/gradient.npy")
    assert gradient.shape == (1, 16, 16)
    assert np.count_nonzero(gradient) == 0  # the pixel there is black, and nothing else is asked
    whole = gradviz(*given, "--interpolation", "nearest", "--view", "gray", "-o", "b")
    assert whole.exit_code == 0, whole.stderr
    gradient = np.load("b/photo.png/ones/gradient.npy")[0]
    assert gradient[:4] == pytest.approx(2 * 114 / 255)
    assert gradient[12:] == pytest.approx(2 * 114 / 255)
    assert np.argwhere(gradient == 0).tolist() == [[6, 10], [6, 11], [7, 10], [7, 11]]
    drawn = np.asarray(Image.open("b/photo.png/ones/gray.png").convert("L"))
    assert drawn.shape == (4, 8)
    assert np.argwhere(drawn == 0).tolist() == [[1, 5]]
    recipe = json.loads(Path("b/run.json").read_text())["preprocess"]
    assert (recipe["resize"], recipe["pad"], recipe["pad_at"]) == ("fit:16", 16, "around")
    assert (recipe["pad_value"], recipe["interpolation"]) == ([114.0], "nearest")


def test_padding_lies_outside_every_mask(gradviz: Gradviz, photo: Path) -> None:
    Image.fromarray(np.full((4, 8), 255, np.uint8)).save("mask.png")
    model = script(SQUARES, "squares.ts")
    given = ("saliency", model, photo, "--channels", "gray", "--inside", "mask.png")
    assert gradviz(*given, "-o", "a").exit_code == 0
    assert line("a")["stats"]["inside"] == 1
    Path("white.yaml").write_text("pad: 8\npad_value: 255\n")
    assert gradviz(*given, "--preprocess", "white.yaml", "-o", "b").exit_code == 0
    assert line("b")["stats"]["inside"] == pytest.approx(31 / 63)


def test_single_flags_win_over_what_a_letterbox_stands_for(gradviz: Gradviz, photo: Path) -> None:
    Path("yolo.yaml").write_text("letterbox: 16\nchannels: gray\n")
    model = script(SQUARES, "squares.ts")
    given = ("saliency", model, photo, "--preprocess", "yolo.yaml")
    assert gradviz(*given, "--pad", "20", "-o", "a").exit_code == 0
    assert np.load("a/photo.png/ones/gradient.npy").shape == (1, 20, 20)
    assert gradviz(*given, "--letterbox", "8", "-o", "b").exit_code == 0
    assert np.load("b/photo.png/ones/gradient.npy").shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--letterbox", "1000000000"], ["letterbox: expected a side below 1000000000"]),
        (["--letterbox", "100000"], ["8x4 would be resized to 100000x50000", "resize to less"]),
        (["--letterbox", "64", "--resize", "32"], ["letterbox: stands for resize"]),
        (["--pad", "7"], ["photo.png: pad 7x7 is less than the image, which is 8x4"]),
        (["--pad", "100000"], ["8x4 would be padded to 100000x100000", "pad to less"]),
        (["--resize", "fit:0"], ["resize: expected the shorter side", "(fit:640), got 'fit:0'"]),
        (["--interpolation", "cubic"], ["interpolation: expected nearest, bilinear, bicubic"]),
    ],
)
def test_options_that_cannot_be(
    gradviz: Gradviz, photo: Path, options: list[str], parts: list[str]
) -> None:
    result = gradviz("saliency", script(SQUARES, "squares.ts"), photo, *options)
    failed(result, result.exit_code, *parts)
    assert result.exit_code in (2, 4)
    assert not Path("gradviz-out/photo.png").exists()
