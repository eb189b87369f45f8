"""run.json is the same wherever its command is given; environment.json has what is not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gradviz.runs.environment import relative_paths
from tests.helpers.commands import Gradviz
from tests.helpers.formats import script


def grow(place: Path) -> Path:
    """A working folder with a model, a photo and a mask."""
    (place / "photos").mkdir(parents=True)
    script("x * x / 2", place / "model.ts")
    for n in range(2):
        Image.new("RGB", (6, 5), (80 * n, 9, 200)).save(place / f"photos/{n}.png")
    Image.new("L", (6, 5), 255).save(place / "mask.png")
    return place


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return grow(tmp_path / "home" / "ann" / "first")


def words(folder: Path, absolute: bool) -> list[str]:
    """A command whose paths are all absolute, or all relative."""
    place = f"{folder}/" if absolute else ""
    given = ["saliency", f"{place}model.ts", f"{place}photos", "--inside", f"{place}mask.png"]
    return [*given, "--view", "gray", "-o", f"{place}out"]


def test_it_is_the_same_from_another_folder_at_another_time(
    gradviz: Gradviz, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "elsewhere" / "second"
    shutil.copytree(first, second)
    texts = []
    for n, folder in enumerate((first, second)):
        monkeypatch.chdir(folder)
        os.utime("photos/0.png", ns=(n, 1_700_000_000_123_456_789 + n))
        result = gradviz(*words(folder, absolute=True))
        assert result.exit_code == 0, result.stderr
        texts.append(Path("out/run.json").read_text())
    assert texts[0] == texts[1]
    assert not any(word in texts[0] for word in (str(tmp_path), "/ann", "second", "170000000"))
    times = json.loads(Path("out/environment.json").read_text())["modified"]
    assert times["0.png"] == 1_700_000_000_123_456_790


def test_its_command_makes_it_again(
    gradviz: Gradviz, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(first)
    monkeypatch.setattr("sys.argv", ["/opt/bin/gradviz", *words(first, absolute=True)])
    gradviz(*words(first, absolute=True))
    before = Path("out/run.json").read_text()
    program, *again = json.loads(before)["command"]
    assert program == "gradviz" and again == words(first, absolute=False)
    assert gradviz(*again, "--overwrite").exit_code == 0
    assert Path("out/run.json").read_text() == before


def test_a_clone_without_environment_is_resumed_and_compared(
    gradviz: Gradviz, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone has other times, and environment.json may be left out of the repository."""
    monkeypatch.chdir(first)
    gradviz(*words(first, absolute=False))
    clone = tmp_path / "clone"
    shutil.copytree(first, clone)
    monkeypatch.chdir(clone)
    (clone / "out/environment.json").unlink()
    for photo in clone.glob("photos/*"):
        os.utime(photo, ns=(5, 5))
    kept = Path("out/0.png/ones/gradient.npy")
    stamp = kept.stat().st_mtime_ns
    assert gradviz(*words(clone, absolute=False), "--resume").exit_code == 0
    assert kept.stat().st_mtime_ns == stamp
    (clone / "out/environment.json").unlink()
    result = gradviz("compare", "out", first / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    result = gradviz("report", "out", "--images", "-o", "page.html", "--json")
    assert (result.exit_code, json.loads(result.stdout)["notes"]) == (0, [])


def test_an_image_that_is_replaced_is_computed_anew(
    gradviz: Gradviz, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(first)
    gradviz(*words(first, absolute=False), "--batch-size", "1")
    stamps = [path.stat().st_mtime_ns for path in sorted(Path("out").rglob("gradient.npy"))]
    os.utime("photos/1.png", ns=(7, 7))
    gradviz(*words(first, absolute=False), "--batch-size", "1", "--resume")
    again = [path.stat().st_mtime_ns for path in sorted(Path("out").rglob("gradient.npy"))]
    assert again[0] == stamps[0] and again[1] > stamps[1]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("{}/a.png", "a.png"),
        ("--input=depth={}/d.npy", "--input=depth=d.npy"),
        ("{}/net.py:Net", "net.py:Net"),
        ("mask:{}/m.png", "mask:m.png"),
        ("--preprocess {}/a recipe.yaml", "--preprocess a recipe.yaml"),
        ("{}/../b/*.png", "../b/*.png"),
        ("{}", "."),
        ("a/b.png", "a/b.png"),
        ("/conv1/Relu", "/conv1/Relu"),
        ("torchvision:resnet18", "torchvision:resnet18"),
        ("class:a/b - 0.5*class:c", "class:a/b - 0.5*class:c"),
    ],
)
def test_words_with_paths(word: str, expected: str, tmp_path: Path) -> None:
    assert relative_paths(word.format(tmp_path), tmp_path) == expected
