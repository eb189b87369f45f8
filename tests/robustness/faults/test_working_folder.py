"""A model that changes or deletes the working folder: results go where they were meant to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import Result

from tests.helpers.formats import script
from tests.helpers.processes import gradviz as process
from tests.helpers.processes import photos

Gradviz = Callable[..., Result]

WANDERER = """
import os
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))
        {at_start}
    def forward(self, x):
        {in_forward}
        return self.one * x * x / 2
"""

GOES = "os.chdir('/')"


@pytest.mark.parametrize("place", ["at_start", "in_forward"])
def test_a_model_that_changes_the_working_folder(
    place: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    photos(tmp_path / "in", 12)
    Image.new("L", (6, 5), 255).save("mask.png")
    torch.save({"one": torch.ones(1)}, "weights.pt")
    words = ["saliency", "weights.pt", "in", "--arch", "net.py:Net", "--batch-size", "1"]
    words += ["--view", "overlay", "--frame", "image", "--inside", "mask.png"]
    words += ["--seed", "mask:mask.png", "--figure", "figure.svg"]
    there = {"at_start": "pass", "in_forward": "pass"}
    Path("net.py").write_text(WANDERER.format(**there))
    assert gradviz(*words, "-o", "settled").exit_code == 0
    Path("net.py").write_text(WANDERER.format(**{**there, place: GOES}))
    Path("figure.svg").unlink()
    before = {*Path("/").iterdir()}
    result = gradviz(*words, "-o", "gone")
    assert result.exit_code == 0, result.stderr
    assert Path.cwd() == tmp_path and {*Path("/").iterdir()} == before
    assert Path("figure.svg").exists()
    first, second = (
        {
            path.relative_to(out): path.read_bytes()
            for path in Path(out).rglob("*.*")
            if path.is_file() and path.name not in ("run.json", "environment.json")
        }
        for out in ("settled", "gone")
    )
    assert first == second and len(first) == 12 * 2 + 1
    images = json.loads(Path("gone/run.json").read_text())["images"]
    assert [Path(image["path"]).parent for image in images] == [Path("in")] * 12


DELETED = """
import os, shutil
os.makedirs("here", exist_ok=True)
os.chdir("here")
os.rmdir(os.getcwd())
"""


@pytest.mark.parametrize(
    "words",
    [
        ("saliency", "{}/model.ts", "{}/in"),
        ("saliency", "{}/model.ts", "{}/in", "-o", "{}/out"),
        ("saliency", "model.ts", "in"),
        ("receptive-field", "{}/model.ts"),
        ("compare", "a", "b", "-o", "c"),
        ("report", "a", "-o", "b.html"),
    ],
    ids=" ".join,
)
def test_a_working_folder_that_was_deleted(words: tuple[str, ...], tmp_path: Path) -> None:
    script("x * x / 2", tmp_path / "model.ts")
    photos(tmp_path / "in", 1)
    done = process(*(word.format(tmp_path) for word in words), before=DELETED, cwd=tmp_path)
    says = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert (done.returncode, len(says)) == (2, 1), done.stderr
    assert done.stderr.splitlines() == says and "working folder" in says[0]
