"""An output folder that cannot be one: exit 2, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.helpers.processes import photos, script

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
    model = script(tmp_path / "model.ts")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    for again in ([], ["--overwrite"]):
        result = gradviz(command, model, images, "-o", out, *again)
        assert result.exit_code == 2 and "Traceback" not in result.stderr, result.stderr
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert gradviz(command, model, images, "-o", "out").exit_code == 0


def test_a_folder_in_that_of_the_images_is_taken(gradviz: Gradviz, tmp_path: Path) -> None:
    photos(tmp_path / "in", 2)
    model = script(tmp_path / "model.ts")
    for again in ([], ["--overwrite"]):
        assert gradviz("saliency", model, "in", "-o", "in/out", *again).exit_code == 0


@pytest.mark.parametrize("name", ["run.json", ".lock", "results.jsonl"])
def test_an_image_that_is_called_like_a_file_of_the_run(
    name: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    photo = photos(tmp_path / "in", 1) / "0000.png"
    photo.rename(tmp_path / name)
    result = gradviz("saliency", script(tmp_path / "model.ts"), name)
    assert result.exit_code == 2 and f"cannot be called {name}" in result.stderr
    assert not Path("gradviz-out").exists()
