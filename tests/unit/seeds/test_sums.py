"""Seeds that are sums of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradviz.errors import SeedError
from gradviz.seeds.places import Part, Site
from gradviz.seeds.seed import check_labels, parse_seed
from tests.helpers.commands import Gradviz

SITE = Site(labels=("cat", "dog", "owl"))


def test_the_cotangent_is_the_weighted_sum_written_by_hand() -> None:
    y = torch.linspace(-1, 1, 3 * 4 * 5, dtype=torch.float64).reshape(3, 4, 5)
    v = torch.zeros_like(y)
    v[:, 2, 1] += 1
    v[1] -= 0.5
    v[0, 3, 4] += 2e-3
    seed = parse_seed("pixel:1,2 - 0.5*class:dog + 2e-3*pixel:4,3,0")
    assert torch.equal(seed.cotangent(y, SITE), v)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("class:cat - class:dog", [1, -1, 0]),
        ("-1*class:cat", [-1, 0, 0]),
        ("top - 0.6*top:2", [0, -0.6, 1]),
        (".5*ones + .5*class:2", [0.5, 0.5, 1]),
        ("class:cat - -2.*class:dog", [1, 2, 0]),
        ("class:cat - class:cat", [0, 0, 0]),
    ],
)
def test_factors_and_signs(spec: str, expected: list[float]) -> None:
    y = torch.tensor([0.1, 0.2, 0.3])
    assert parse_seed(spec).cotangent(y, SITE).tolist() == pytest.approx(expected)


def test_a_sum_of_classes_is_no_question_about_one() -> None:
    y = torch.tensor([0.1, 0.2, 0.3])
    (one, both) = (parse_seed(spec).answer(y, SITE) for spec in ("top", "top - class:cat"))
    assert one is not None and one.index == 2
    assert both is None


def test_the_box_holds_every_term() -> None:
    box = parse_seed("pixel:8,1 - region:2,3,5,9").box((12, 10), SITE)
    assert box == (2, 1, 9, 9)
    assert parse_seed("pixel:8,1 - ones").box((12, 10), SITE) == (0, 0, 12, 10)


def test_parts_of_the_output_have_parts_of_the_sum() -> None:
    y = torch.rand(2, 6, 8)
    seed = parse_seed("pixel:1,1 - 3*region:3,2,7,6,1")
    part = Site(part=Part((2, 1, 6, 5), (8, 6)))
    whole = seed.cotangent(y, Site())
    assert torch.equal(seed.cotangent(y[:, 1:5, 2:6], part), whole[:, 1:5, 2:6])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("class:cat - dgo", "seed class:cat - dgo: dgo: no seed is called 'dgo'"),
        ("class:tench - Tinca tinca", "give a class whose label has them by its number"),
        ("mask:a - b.png", "rename a file that has them"),
        ("ones - ", "seed ones - : a term is missing; ' + ' and"),
        ("ones +  - ones", "seed ones +  - ones: "),
        ("1e999*ones", "seed 1e999*ones: the factor 1e999 is too large"),
        ("nan*ones", "no seed is called 'nan*ones'"),
        ("2*", "no seed is called '2*'"),
        ("2*3*ones", "no seed is called '3*ones'"),
    ],
)
def test_errors_name_the_seed_and_the_term(spec: str, said: str) -> None:
    with pytest.raises(SeedError) as caught:
        parse_seed(spec)
    assert said in str(caught.value)


def test_what_does_not_fit_is_named_with_its_term() -> None:
    seed = parse_seed("pixel:1,1 - pixel:99,1")
    with pytest.raises(SeedError, match=r"^seed pixel:1,1 - pixel:99,1: pixel:99,1: x 99 is out"):
        seed.cotangent(torch.rand(1, 4, 4), Site())
    with pytest.raises(SeedError, match=r"^seed pixel:1,1 - pixel:99,1: pixel:99,1: x 99 is out"):
        seed.box((4, 4), Site())
    with pytest.raises(SeedError, match="no class is called 'dgo'"):
        check_labels([parse_seed("class:cat - class:dgo")], SITE.labels)


def test_files_of_all_terms_are_part_of_the_record(
    gradviz: Gradviz, models: Path, images: Path, tmp_path: Path
) -> None:
    Image.new("L", (128, 128), 255).save("a.png")
    np.save("b.npy", np.zeros((1, 128, 128)))
    spec = "mask:a.png - 2*tensor:b.npy"
    assert [path.name for path in parse_seed(spec).files(["room_01.png"])] == ["a.png", "b.npy"]
    command = ["saliency", models / "depth.yaml", images / "room_01.png", "-o", "out"]
    gradviz(*command, "--seed", spec)
    record = Path("out/run.json").read_text()
    assert '"a.png"' in record and '"b.npy"' in record
