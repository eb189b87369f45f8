"""`receptive-field` over the photo's own pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.helpers.commands import Gradviz, failed
from tests.helpers.formats import script

WIDE, HIGH = 96, 60
RECIPE = ("--resize", "48x30", "--crop", "40x24")
"""Every pixel of the input shows 2×2 of the photo; 4 and 3 of its columns and rows are cut off."""


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A network whose field is 7×7 at a stride of 2, with weights that are not zero."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 1, 3, 1, 1))
    return script(net, "net.ts")


@pytest.fixture
def photo(tmp_path: Path) -> str:
    levels = np.random.default_rng(0).integers(60, 200, (HIGH, WIDE, 3), np.uint8)
    Image.fromarray(levels).save("photo.png")
    return "photo.png"


def pixels(path: str | Path) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture)


def fields(out: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(Path(out, "field.json").read_text())["fields"]
    return found


def test_the_pictures_have_the_photos_pixels(gradviz: Gradviz, model: str, photo: str) -> None:
    command = ["receptive-field", model, photo, *RECIPE, "--pixel", "9,5"]
    for frame in ("input", "image"):
        result = gradviz(*command, "--frame", frame, "-o", frame)
        assert result.exit_code == 0, result.stderr
    folder = "photo.png/pixel-9-5"
    for name in ("structural", "local"):
        mask = np.load(f"image/{folder}/{name}.npy")
        assert np.array_equal(mask, np.load(f"input/{folder}/{name}.npy"))
        drawn = pixels(f"image/{folder}/{name}.png")
        expected = np.zeros((HIGH, WIDE), bool)
        expected[6:54, 8:88] = mask.repeat(2, 0).repeat(2, 1)  # centred: 3 rows, 4 columns off
        assert np.array_equal(drawn, expected)
    overlay, before = pixels(f"image/{folder}/overlay.png"), pixels(photo)
    far = np.s_[:10, 60:]
    assert np.array_equal(overlay[far], np.round(0.6 * before[far]).astype(np.uint8))
    assert fields("image")[0]["box"] == fields("input")[0]["box"]


def test_the_pixel_over_a_place_of_the_photo(gradviz: Gradviz, model: str, photo: str) -> None:
    """The output pixel whose field is centred nearest to it, found by trying all."""
    command = ["receptive-field", model, photo, *RECIPE, "--pixel", "at:51,30", "--pixel", "3,3"]
    result = gradviz(*command, "-o", "out")
    assert result.exit_code == 0, result.stderr
    u, v = (51.5 / 2 - 4, 30.5 / 2 - 3)
    centres = {(i, j): (2 * i + 0.5, 2 * j + 0.5) for i in range(20) for j in range(12)}
    nearest = min(centres, key=lambda p: (centres[p][0] - u) ** 2 + (centres[p][1] - v) ** 2)
    assert [tuple(each["pixel"]) for each in fields("out")] == [(3, 3), nearest]


def test_a_small_field_has_a_close_up(gradviz: Gradviz, model: str, photo: str) -> None:
    command = ["receptive-field", model, photo, "--pixel", "9,5"]
    assert gradviz(*command, "--resize", "24x15", "-o", "large").exit_code == 0
    assert "closeup.png" not in fields("large")[0]["files"]
    assert gradviz(*command, "-o", "small").exit_code == 0
    (field,) = fields("small")
    x0, y0, x1, y1 = field["box"]
    height, width, _ = pixels(Path("small", field["files"]["closeup.png"])).shape
    times = width // (x1 + 1 - x0 + 2 * 2)  # a margin of two pixels on each side
    assert (width, height) == ((x1 + 5 - x0) * times, (y1 + 5 - y0) * times) and width >= 512


def test_a_mean_is_drawn_over_no_image(gradviz: Gradviz, model: str, photo: str) -> None:
    Image.new("RGB", (WIDE, HIGH), "red").save("red.png")
    assert gradviz("receptive-field", model, "photo.png", "red.png", "-o", "out").exit_code == 0
    overlay = pixels("out/mean/pixel-24-15/overlay.png")
    assert (overlay[0, 0] == round(0.6 * 128)).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pixel", "at:5,5"], "error: --pixel at:X,Y: random input has no photo; give an image"),
        (["--frame", "image"], "error: --frame image: random input has no photo; give an image"),
        (["--pixel", "at:5"], "error: --pixel at:5: write it as X,Y or at:X,Y, such as 64,48"),
    ],
)
def test_what_needs_a_photo(arguments: list[str], said: str, gradviz: Gradviz, model: str) -> None:
    failed(gradviz("receptive-field", model, *arguments), 2, said)


def test_a_place_that_was_cut_off(gradviz: Gradviz, model: str, photo: str) -> None:
    result = gradviz("receptive-field", model, photo, *RECIPE, "--pixel", "at:2,30")
    assert result.exit_code == 2 and "x = 2 was cropped away; expected 8 to 87" in result.stderr
