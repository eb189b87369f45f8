"""An output folder that cannot be one: exit 2, and nothing is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import Result

from gradviz.commands.saliency.run import SaliencyRun
from tests.helpers.formats import script
from tests.helpers.processes import photos

Gradviz = Callable[..., Result]


@pytest.mark.parametrize(
    ("images", "out"),
    [
        ("in", "in"),
        ("in", "./in/"),
        ("in", "link"),
        ("in/0000.png", "in"),
        ("in/*.png", "in"),
        ("in", ""),
    ],
)
@pytest.mark.parametrize("command", ["saliency", "receptive-field"])
def test_the_folder_of_the_images(
    command: str, images: str, out: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    photos(tmp_path / "in", 2)
    Path("link").symlink_to("in")
    model = script("x * x / 2", tmp_path / "model.ts")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    for again in ([], ["--overwrite"]):
        result = gradviz(command, model, images, "-o", out, *again)
        assert result.exit_code == 2 and "Traceback" not in result.stderr, result.stderr
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert gradviz(command, model, images, "-o", "out").exit_code == 0


def test_a_folder_in_that_of_the_images_is_taken(gradviz: Gradviz, tmp_path: Path) -> None:
    photos(tmp_path / "in", 2)
    model = script("x * x / 2", tmp_path / "model.ts")
    for again in ([], ["--overwrite"]):
        assert gradviz("saliency", model, "in", "-o", "in/out", *again).exit_code == 0


@pytest.mark.parametrize("name", ["run.json", "environment.json", ".lock", "results.jsonl"])
def test_an_image_that_is_called_like_a_file_of_the_run(
    name: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    photo = photos(tmp_path / "in", 1) / "0000.png"
    photo.rename(tmp_path / name)
    result = gradviz("saliency", script("x * x / 2", tmp_path / "model.ts"), name)
    assert result.exit_code == 2 and f"cannot be called {name}" in result.stderr
    assert not Path("gradviz-out").exists()


@pytest.mark.parametrize("shards", [False, True])
def test_a_picture_that_is_deleted_before_the_scale_is_shared(
    shards: bool, gradviz: Gradviz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others are drawn."""
    photos(tmp_path / "in", 4)
    words = [
        "saliency",
        script("x * x / 2", tmp_path / "m.ts"),
        "in",
        "--scale",
        "shared",
        "--batch-size",
        "1",
    ]
    if shards:
        assert gradviz(*words, "--shard", "1/2").exit_code == 0
    share = SaliencyRun._share_scales

    def shared(run: SaliencyRun) -> None:
        Path("in/0001.png").unlink()
        share(run)

    monkeypatch.setattr(SaliencyRun, "_share_scales", shared)
    result = gradviz(*words, *(["--shard", "2/2"] if shards else []))
    assert result.exit_code == 4, result.stderr
    drawn = {path.parts[1] for path in Path("gradviz-out").rglob("*.png") if path.is_file()}
    assert drawn == {"0000.png", "0002.png", "0003.png"}
    assert "0001.png: no such file" in result.stderr


def test_what_is_printed_does_nothing_to_a_terminal(gradviz: Gradviz, tmp_path: Path) -> None:
    code = "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    code += "        self.add_module('\\x1b[31mred', nn.Conv2d(3, 1, 1))\n"
    code += "    def forward(self, x):\n        return next(self.children())(x)\n"
    Path("net.py").write_text(f"from torch import nn\n{code}")
    weights = torch.nn.Conv2d(3, 1, 1).state_dict()
    torch.save({f"\x1b[31mred.{name}": value for name, value in weights.items()}, "w.pt")
    for words in (["inspect", "w.pt"], ["inspect", "w.pt", "--json"]):
        result = gradviz(*words, "--arch", "net.py:Net")
        assert result.exit_code == 0 and "red" in result.stdout, result.stderr
        assert "\x1b" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    "option", ["--range=-1e308,1e308", "--std=1e-320,1,1", "--mean=1e308,0,0", "--std=1e300,1,1"]
)
def test_numbers_beyond_float32_warn_in_words(
    option: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    photos(tmp_path / "in", 1)
    result = gradviz("saliency", script("x * x / 2", tmp_path / "model.ts"), "in", option)
    assert result.exit_code == 0 and "RuntimeWarning" not in result.stderr


@pytest.mark.parametrize(
    ("figure", "told"),
    [
        ("in/0000.png", "is a file that the run reads"),
        ("mask.png", "is a file that the run reads"),
        ("seed.png", "is a file that the run reads"),
        ("gradviz-out/0000.png/ones/heatmap.png", "is the place of a result"),
        ("link/0000.png/gray.svg/../top/gray.png", "is the place of a result"),
        ("gradviz-out/figure.png", None),
        ("gradviz-out/0000.png/mine.png", None),
    ],
)
def test_a_figure_takes_the_place_of_nothing_else(
    figure: str, told: str | None, gradviz: Gradviz, tmp_path: Path
) -> None:
    photos(tmp_path / "in", 1)
    for name in ("mask.png", "seed.png"):
        Image.new("L", (6, 5), 255).save(name)
    Path("link").symlink_to("gradviz-out")
    words = ["saliency", script("x * x / 2", tmp_path / "m.ts"), "in", "--seed", "mask:seed.png"]
    before = {path: path.read_bytes() for path in Path().rglob("*.png") if path.is_file()}
    result = gradviz(*words, "--inside", "mask.png", "--figure", figure)
    assert result.exit_code == (2 if told else 0), result.stderr
    assert (told or "") in result.stderr
    assert Path("gradviz-out").exists() == (told is None)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "words",
    [
        ["report", "secret", "-o", "page.html"],
        ["compare", "secret", "secret"],
        ["saliency", "secret/m.ts", "in"],
        ["saliency", "m.ts", "in", "--inside", "secret"],
        ["saliency", "m.ts", "in", "-o", "secret/out"],
        ["receptive-field", "m.ts", "-o", "secret/out"],
        ["inspect", "secret/m.ts"],
    ],
    ids=" ".join,
)
def test_a_folder_that_may_not_be_entered(
    words: list[str], gradviz: Gradviz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may enter every folder, so that the disk's refusal is imitated."""
    photos(tmp_path / "in", 1)
    script("x * x / 2", tmp_path / "m.ts")
    Path("secret").mkdir()
    stat = os.stat

    def refusing(path: Any, *given: Any, **named: Any) -> os.stat_result:
        if isinstance(path, Path | str) and "secret" in Path(path).parts[:-1]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, *given, **named)

    monkeypatch.setattr(os, "stat", refusing)
    result = gradviz(*words)
    assert result.exit_code == 2, result.stderr
    (error,) = [row for row in result.stderr.splitlines() if row.startswith("error: ")]
    assert "ermission denied" in error or "no mask for" in error or "not readable" in error, error
