"""What seeds ask about, as lines over the input."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradviz.image.frame import Frame
from gradviz.marks import around
from gradviz.seeds.places import Centres, Part, Site
from gradviz.seeds.seed import parse_seed

FRAME = Frame((80, 40), (80, 40), (0, 0), (80, 40))
"""An input of 80×40, over which an output of 16×8 has cells of 5×5."""
Y = torch.zeros(1, 8, 16)


@pytest.mark.parametrize(
    ("spec", "box"),
    [
        ("pixel:3,1", (15, 5, 20, 10)),
        ("pixel:3,1,0", (15, 5, 20, 10)),
        ("at:79,39", (75, 35, 80, 40)),
        ("region:0,2,16,4", (0, 10, 80, 20)),
    ],
)
def test_without_centres_the_output_covers_the_input(
    spec: str, box: tuple[float, float, float, float]
) -> None:
    (mark,) = parse_seed(spec).marks(Y, Site(FRAME))
    assert (mark.term, mark.factor, mark.outline) == (spec, 1.0, around(*box))


def test_an_output_pixel_lies_around_the_centre_of_its_field() -> None:
    """Two valid convolutions of 5: the first centre is 4.5, and the map has no stride."""
    centres = Centres(Fraction(9, 2), Fraction(1))
    (mark,) = parse_seed("pixel:3,1").marks(Y, Site(FRAME, centres=(centres, centres)))
    assert mark.outline == around(7, 5, 8, 6)


def test_the_outermost_pixels_end_at_the_input() -> None:
    centres = Centres(Fraction(-2), Fraction(5))
    (mark,) = parse_seed("pixel:0,0").marks(Y, Site(FRAME, centres=(centres, centres)))
    assert mark.outline == around(0, 0, 0.5, 0.5)


def test_every_term_of_a_sum_has_its_factor() -> None:
    marks = parse_seed("pixel:0,0 - 0.5*region:1,1,3,2 + ones").marks(Y, Site(FRAME))
    assert [(mark.term, mark.factor) for mark in marks] == [
        ("pixel:0,0", 1.0),
        ("region:1,1,3,2", -0.5),
    ]
    assert marks[1].outline == around(5, 5, 15, 10)


def test_a_mask_is_outlined_where_it_is_not_black(tmp_path: Path) -> None:
    mask = np.zeros((4, 8), np.uint8)
    mask[1:3, 2:6] = 10
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (mark,) = parse_seed(f"mask:{tmp_path}/mask.png").marks(Y, Site(FRAME))
    (ring,) = mark.outline
    assert sorted(ring) == sorted(around(20, 10, 60, 30)[0])


def test_a_part_of_the_map_has_the_marks_of_the_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.random.default_rng(0).random((8, 16)) > 0.5)
    seed = parse_seed(f"pixel:3,1 - mask:{tmp_path}/mask.npy")
    part = Site(FRAME, part=Part((4, 0, 8, 4), (16, 8)))
    assert seed.marks(Y[:, :4, 4:8], part) == seed.marks(Y, Site(FRAME))


@pytest.mark.parametrize("spec", ["ones", "channel:0", "top", "class:0", "predicted:0"])
def test_seeds_about_the_whole_output_have_none(spec: str) -> None:
    assert parse_seed(spec).marks(Y, Site(FRAME)) == ()
