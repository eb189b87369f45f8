"""What was asked is seen: in the view `marked`, in results, in figures and in the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import gradviz
from gradviz.commands.report.inputs import read_input
from gradviz.commands.report.page import report
from gradviz.heatmap.marks import ADDED, SUBTRACTED
from tests.helpers.commands import Gradviz, contents, failed, line, lines
from tests.helpers.formats import script

MODEL = "(x * x).sum(1, True)"


def photo(name: str, size: tuple[int, int], mode: str = "RGB") -> str:
    """A dark picture of noise, without white and blue."""
    levels = np.random.default_rng(0).integers(20, 120, (size[1], size[0], 3), np.uint8)
    Image.fromarray(levels).convert(mode).save(name)
    return name


def lit(path: str, colour: tuple[int, int, int]) -> np.ndarray:
    """The [x, y] of a picture's pixels of a colour."""
    pixels = np.asarray(Image.open(path))
    found: np.ndarray = np.argwhere((pixels == colour).all(axis=-1))[:, ::-1]
    return found


def middle(places: np.ndarray) -> np.ndarray:
    found: np.ndarray = (places.min(axis=0) + places.max(axis=0)) / 2
    return found


def test_both_terms_of_a_sum_are_marked(gradviz: Gradviz) -> None:
    seed, folder = "pixel:30,20 - pixel:60,40", "gradviz-out/a.png/pixel-30-20---pixel-60-40"
    model, image = script(MODEL, "model.ts"), photo("a.png", (90, 70))
    result = gradviz(
        "saliency", model, image, "--seed", seed, "--view", "marked", "--view", "overlay"
    )
    assert result.exit_code == 0, result.stderr
    marks = line()["marks"]
    assert [(mark["term"], mark["factor"]) for mark in marks] == [
        ("pixel:30,20", 1.0),
        ("pixel:60,40", -1.0),
    ]
    assert marks[1]["outline"] == [[[60.0, 40.0], [61.0, 40.0], [61.0, 41.0], [60.0, 41.0]]]
    assert np.abs(middle(lit(f"{folder}/marked.png", ADDED)) - (30, 20)).max() <= 1
    assert np.abs(middle(lit(f"{folder}/marked.png", SUBTRACTED)) - (60, 40)).max() <= 1
    overlay, marked = (np.asarray(Image.open(f"{folder}/{v}.png")) for v in ("overlay", "marked"))
    same = (overlay == marked).all(axis=-1)
    assert same[20, 30] and same[40, 60] and 0.9 < same.mean() < 1


VALID = nn.Sequential(*(nn.Conv2d(3 if n == 0 else 1, 1, 5) for n in range(6)))
"""Its output is 24 pixels smaller than its input."""


@pytest.mark.parametrize("tile", ["auto", "off"])
def test_a_mark_lies_in_the_middle_of_the_field(tile: str) -> None:
    """Also at the border of a map without padding, where proportion would miss it by 11 pixels."""
    with torch.no_grad():
        for weight in VALID.parameters():
            weight.fill_(1.0)
    image = np.random.default_rng(0).random((3, 150, 160), np.float32)
    (found,) = gradviz.saliency(VALID, image, "pixel:2,120", tile=tile)  # type: ignore[arg-type]
    ((ring,),) = (mark.outline for mark in found.marks)
    rows, columns = (np.flatnonzero(found.array.any(axis=(0, axis))) for axis in (2, 1))
    assert np.mean(ring, axis=0).tolist() == [columns.mean() + 0.5, rows.mean() + 0.5]


@pytest.mark.parametrize(
    "steps",
    [
        ["--letterbox", "64"],
        ["--resize", "50", "--crop", "40x30"],
        ["--resize", "48x40", "--pad", "64"],
        ["--resize", "fit:60", "--multiple", "8"],
    ],
)
def test_in_the_photos_pixels_the_mark_lies_over_the_pixel_that_was_named(
    gradviz: Gradviz, steps: list[str]
) -> None:
    model, image = script(MODEL, "model.ts"), photo("a.png", (300, 200))
    given = ("saliency", model, image, *steps, "--frame", "image", "--view", "marked")
    result = gradviz(*given, "--seed", "at:151,77")
    assert result.exit_code == 0, result.stderr
    places = lit("gradviz-out/a.png/at-151-77/marked.png", ADDED)
    scale = 300 / 48  # an input pixel covers so many of the photo's
    assert np.abs(middle(places) - (151.5, 77.5)).max() <= scale / 2 + 1


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA"])
def test_pictures_of_every_kind_are_marked(gradviz: Gradviz, mode: str) -> None:
    if mode == "I;16":
        levels = np.random.default_rng(0).integers(0, 30000, (50, 80), np.uint16)
        Image.fromarray(levels).save("a.png")
    else:
        photo("a.png", (80, 50), mode)
    model = script(MODEL, "model.ts")
    result = gradviz("saliency", model, "a.png", "--seed", "region:10,10,50,40", "--view", "marked")
    assert result.exit_code == 0, result.stderr
    places = lit("gradviz-out/a.png/region-10-10-50-40/marked.png", ADDED)
    assert (
        np.abs(np.array([places.min(axis=0), places.max(axis=0)]) - [[10, 10], [50, 40]]).max() <= 1
    )


def test_a_photo_of_one_pixel(gradviz: Gradviz) -> None:
    Image.new("RGB", (1, 1), (9, 9, 9)).save("a.png")
    given = ("saliency", script(MODEL, "model.ts"), "a.png", "--seed", "pixel:0,0")
    result = gradviz(*given, "--view", "marked", "--figure", "f.png")
    assert result.exit_code == 0, result.stderr
    assert line()["marks"][0]["outline"] == [[[0, 0], [1, 0], [1, 1], [0, 1]]]


def test_resumed_tiled_and_shared_runs_have_the_same_marks(gradviz: Gradviz) -> None:
    model = script(MODEL, "model.ts")
    images = [photo(f"{name}.png", (140, 150)) for name in "ab"]
    np.save("mask.npy", np.tri(70))
    seeds = ["--seed", "pixel:70,75 - region:1,2,30,40", "--seed", "mask:mask.npy"]
    given = ("saliency", model, *images, *seeds, "--view", "marked", "--scale", "shared")
    assert gradviz(*given, "-o", "whole").exit_code == 0
    Path("whole/b.png/mask-mask.npy/marked.png").unlink()
    before = contents("whole")
    assert gradviz(*given, "-o", "whole", "--resume").exit_code == 0
    assert {name: data for name, data in contents("whole").items() if name in before} == before
    for shard in ("1/2", "2/2"):
        result = gradviz(*given, "-o", "shards", "--shard", shard, "--batch-size", 1)
        assert result.exit_code == 0, result.stderr
    assert gradviz(*given, "-o", "tiled", "--tile", 32).exit_code == 0
    marks = [each["marks"] for each in lines("whole")]
    assert [each["marks"] for each in lines("tiled")] == marks
    sharded = [*Path("shards").glob("results.*.jsonl")]
    assert len(sharded) == 2
    for name in ("pixel-70-75---region-1-2-30-40", "mask-mask.npy"):
        assert len(lit(f"shards/a.png/{name}/marked.png", ADDED))


def test_figures_and_the_page_have_the_marks(gradviz: Gradviz) -> None:
    model, image = script(MODEL, "model.ts"), photo("a.png", (100, 60))
    seed = "region:10,20,50,40 - pixel:70,30"
    result = gradviz("saliency", model, image, "--seed", seed, "--figure", "f.svg")
    assert result.exit_code == 0, result.stderr
    figure = Path("f.svg").read_text()
    # In each of three panels: the four ticks of the pixel, and the box.
    assert len(re.findall(r"stroke: #40a0ff", figure)) == 12
    assert len(re.findall(r"stroke: #ffffff; stroke-width: 1.1", figure)) == 3
    page = report([read_input("gradviz-out")], images=True).html
    assert '"path": "M10,20 50,20 50,40 10,40 10,20", "subtracted": false' in page
    assert '"subtracted": true' in page


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ('"outline": [[[1.0, 2.0]', '"outline": [[], [[1.0, 2.0]'),
        ('"outline": [[[1.0, 2.0]', '"outline": [[[1.0]'),
        ('"colours": []', '"colours": ["red"]'),
    ],
)
def test_a_tampered_line_is_refused_in_one_line(gradviz: Gradviz, was: str, now: str) -> None:
    model, image = script(MODEL, "model.ts"), photo("a.png", (30, 20))
    given = ("saliency", model, image, "--seed", "pixel:1,2", "--view", "output")
    assert gradviz(*given).exit_code == 0
    results = Path("gradviz-out/results.jsonl")
    text = results.read_text()
    assert was in text
    results.write_text(text.replace(was, now))
    failed(gradviz("report", "gradviz-out"), 2, "results.jsonl:1: not a result")
    failed(gradviz(*given, "--resume", "--figure", "f.png"), 2, "results.jsonl:1: not a result")
