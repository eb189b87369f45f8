"""A baseline of 16-bit numbers without pictures: compared, shown, resumed and loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gradviz as package
from tests.helpers.commands import Gradviz, failed, lines
from tests.helpers.formats import script

WORDS = ["saliency", "model.ts", "photos", "--seed", "ones", "--view", "none", "--batch-size", "1"]


@pytest.fixture
def halves(gradviz: Gradviz, tmp_path: Path) -> Path:
    """A run whose gradients have numbers of more than eleven bits."""
    script("(x * x * x).sin()", tmp_path / "model.ts")
    (tmp_path / "photos").mkdir()
    for n in range(2):
        Image.effect_noise((9, 8), 60 + n).convert("RGB").save(tmp_path / f"photos/{n}.png")
    result = gradviz(*WORDS, "--array", "float16", "-o", "halves")
    assert result.exit_code == 0, result.stderr
    return tmp_path / "halves"


def test_it_holds_the_numbers_and_nothing_else(gradviz: Gradviz, halves: Path) -> None:
    assert gradviz(*WORDS, "-o", "whole").exit_code == 0
    found = sorted(str(path.relative_to(halves)) for path in halves.rglob("*") if path.is_file())
    records = ["environment.json", "results.jsonl", "run.json"]
    assert found == sorted([*records, "0.png/ones/gradient.npz", "1.png/ones/gradient.npz"])
    for line in lines("halves"):
        assert list(line["files"]) == ["gradient"]
        near = package.load_array(halves / line["files"]["gradient"])
        exact = np.load(Path("whole", line["files"]["gradient"]).with_suffix(".npy"))
        assert near.dtype == np.float32 and not np.array_equal(near, exact)
        assert (np.abs(near - exact) <= 2.0**-11 * np.abs(exact)).all()


def test_it_is_compared_and_shown(gradviz: Gradviz, halves: Path) -> None:
    gradviz(*WORDS, "-o", "whole")
    result = gradviz("compare", "halves", "whole", "-o", "differences", "--json")
    assert result.exit_code == 0, result.stderr
    items = json.loads(result.stdout)["items"]
    assert [0 < item["measured"]["gradient"]["relative"] < 2**-11 for item in items] == [True] * 2
    result = gradviz("report", "halves", "--images", "-o", "page.html", "--json")
    assert (result.exit_code, json.loads(result.stdout)["notes"]) == (0, [])


def test_it_is_resumed(gradviz: Gradviz, halves: Path) -> None:
    first, second = sorted(halves.rglob("gradient.npz"))
    before, stamp = second.read_bytes(), first.stat().st_mtime_ns
    second.write_bytes(before[:-40])
    assert gradviz(*WORDS, "--array", "float16", "-o", "halves", "--resume").exit_code == 0
    assert second.read_bytes() == before and first.stat().st_mtime_ns == stamp


def test_an_overwriting_run_takes_it_away(gradviz: Gradviz, halves: Path) -> None:
    assert gradviz(*WORDS, "--array", "none", "-o", "halves", "--overwrite").exit_code == 0
    assert not [*halves.rglob("*.np?")]


def test_a_pointer_in_place_of_an_array(gradviz: Gradviz, halves: Path) -> None:
    gradviz(*WORDS, "-o", "whole")
    for array in (halves / "0.png/ones/gradient.npz", Path("whole/0.png/ones/gradient.npy")):
        content = array.read_bytes()
        array.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
        failed(gradviz("compare", "halves", "whole"), 2, "Git LFS pointer", "git lfs pull")
        array.write_bytes(content)
    pointer = Path("model.ts")
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    failed(gradviz(*WORDS, "-o", "other"), 3, "Git LFS pointer", "git lfs pull")


def test_none_is_no_view_beside_others(gradviz: Gradviz, halves: Path) -> None:
    failed(gradviz(*WORDS, "--view", "gray", "-o", "other"), 2, "--view none", "leave it out")
