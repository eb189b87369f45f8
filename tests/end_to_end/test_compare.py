"""`gradviz compare` on runs of small models: verdicts, streams and exit codes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.helpers.commands import Gradviz
from tests.helpers.formats import script


def blur(side: int) -> nn.Module:
    """A convolution without an odd side, so that its field's place says what its size is."""
    conv = nn.Conv2d(3, 1, side, padding=side // 2)
    nn.init.constant_(conv.weight, 1 / side**2)
    return conv


@pytest.fixture
def photos(gradviz: Gradviz) -> Path:
    """A folder of two pictures of 4×3 pixels, in the empty folder where commands run."""
    folder = Path("photos")
    folder.mkdir()
    for n, name in enumerate(("p.png", "q.png")):
        Image.new("RGB", (4, 3), (40 * n, 90, 200)).save(folder / name)
    return folder


def explain(gradviz: Gradviz, number: float, out: str, *options: str | Path) -> None:
    model = script(f"x * float('{number}')", f"times{number}.ts")
    result = gradviz("saliency", model, "photos", "-o", out, "--view", "gray", *options)
    assert result.exit_code in (0, 4), result.stderr


def digest(file: str) -> str:
    """The start of a file's SHA-256."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8]


def test_equal_runs_pass(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    explain(gradviz, 2, "b")
    result = gradviz("compare", "a", "b")
    assert result.exit_code == 0
    assert result.stderr == ""
    head, *rows = (line.split() for line in result.stdout.splitlines())
    assert head == [
        "verdict",
        "image",
        "seed",
        "array",
        "relative-l2",
        "relative",
        "max",
        "cosine",
        "iou",
    ]
    assert rows == [
        ["ok", image, "ones", "gradient", "0", "0", "0", "1", "1"] for image in ("p.png", "q.png")
    ]


def test_a_model_that_changed_fails(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a", "--seed", "ones", "--seed", "pixel:1,2")
    explain(gradviz, 2.5, "b", "--seed", "ones")
    result = gradviz("compare", "a", "b")
    assert result.exit_code == 6
    warning, error = result.stderr.splitlines()
    assert warning.startswith("warning: the runs were made differently: model.sha256 was ")
    assert "settings.seeds was ['ones', 'pixel:1,2'], is ['ones']" in warning
    assert error == (
        "error: 4 of 4 differ; the worst is p.png (pixel:1,2): only in A; by their records, the "
        f"runs differ in the model's file (sha256 was {digest('times2.ts')}…, is "
        f"{digest('times2.5.ts')}…), settings (seeds was ['ones', 'pixel:1,2'], is ['ones']); draw "
        "where with -o, and if it is meant, keep b in place of a"
    )
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    assert rows[0][:4] == ["DIFFERS", "p.png", "pixel:1,2", "-"]
    assert rows[0][-3:] == ["only", "in", "A"]
    assert rows[2] == ["DIFFERS", "p.png", "ones", "gradient", "0.2", "0.2", "0.5", "1", "1"]


def test_the_value_that_fails_is_said(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    explain(gradviz, 2.5, "b")
    for options, said in (
        ((), "relative-l2 of gradient is 0.2, above --tolerance 0.03"),
        (("--metric", "relative"), "relative of gradient is 0.2, above --tolerance 0.001"),
        (
            ("--metric", "max", "--tolerance", "0.4"),
            "max of gradient is 0.5, above --tolerance 0.4",
        ),
        (
            ("--metric", "cosine", "--tolerance", "2"),
            "cosine of gradient is 1, below --tolerance 2",
        ),
    ):
        result = gradviz("compare", "a", "b", "-q", *options)
        assert (result.exit_code, result.stdout) == (6, "")
        assert said in result.stderr
    assert gradviz("compare", "a", "b", "--tolerance", "0.21").exit_code == 0
    assert gradviz("compare", "a", "b", "--metric", "cosine").exit_code == 0


def test_a_tolerance_alone_says_once_that_the_default_metric_is_another(
    gradviz: Gradviz, photos: Path
) -> None:
    explain(gradviz, 2, "a")
    note = (
        "note: --tolerance 0.001 is of relative-l2, the default metric, which was relative in 0.1; "
        "give --metric to choose\n"
    )
    tolerance = ("--tolerance", "0.001")
    assert gradviz("compare", "a", "a", "a", *tolerance).stderr == note
    for quiet in (("-q", *tolerance), (*tolerance, "--metric", "relative"), ()):
        assert gradviz("compare", "a", "a", *quiet).stderr == ""
    gradviz("receptive-field", script(blur(3), "blur.ts"), "-o", "field")
    assert gradviz("compare", "field", "field", "--tolerance", "0.5").stderr == ""


def test_the_cause_is_part_of_the_error(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    explain(gradviz, 2, "b", "--mean", "0.25,0.25,0.25", "--std", "0.5,0.5,0.5")
    broken = Path("b/p.png/ones/gradient.npy")
    np.save(broken, 2 * np.load(broken))
    shutil.copytree("a", "c")
    shutil.copy(broken, "c/p.png/ones/gradient.npy")
    shutil.copytree("c", "d")
    environment = json.loads(Path("d/environment.json").read_text())
    environment["versions"]["torch"] = "2.0"
    environment["machine"]["instructions"] = "none"
    Path("d/environment.json").write_text(json.dumps(environment))
    shutil.copytree("c", "e")
    Path("e/environment.json").unlink()
    for run, says in {
        "b": "the runs differ in preprocessing (mean was None, is [0.25, 0.25, 0.25], std was "
        "None, is [0.5, 0.5, 0.5]); ",
        "c": "the runs do not differ; ",
        "d": f"the runs differ in versions (torch was {torch.__version__}, is 2.0), machine "
        "(instructions was ",
        "e": "the runs do not differ; without environment.json, versions are unknown; ",
    }.items():
        result = gradviz("compare", "a", run, "-q")
        assert (result.exit_code, result.stdout) == (6, "")
        (error,) = result.stderr.splitlines()
        assert f"above --tolerance 0.03; by their records, {says}" in error


def test_weights_code_and_files_are_told_apart(gradviz: Gradviz, photos: Path) -> None:
    Path("net.py").write_text(
        "from torch import nn\n\ndef build():\n    return nn.Conv2d(3, 1, 1, bias=False)\n"
    )
    for out, weight in (("a", 1.0), ("b", 2.0)):
        torch.save({"weight": torch.full((1, 3, 1, 1), weight)}, "weights.pt")
        gradviz("saliency", "weights.pt", "photos", "--arch", "net.py:build", "-o", out)
    Path("net.py").write_text(Path("net.py").read_text() + "# another\n")
    gradviz("saliency", "weights.pt", "photos", "--arch", "net.py:build", "-o", "c")
    error = gradviz("compare", "a", "b", "-q").stderr
    assert "the runs differ in weights (sha256 was " in error and "files" not in error
    assert ", files (net.py was " in gradviz("compare", "a", "c", "-q").stderr


def test_a_long_cause_is_cut(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    seeds = [option for x in range(4) for option in ("--seed", f"pixel:{x},0")]
    explain(gradviz, 2.5, "b", *seeds, "--clip", "50", "--batch-size", "3", "--tile", "off")
    (error,) = gradviz("compare", "a", "b", "-q").stderr.splitlines()
    assert " and 1 more)" in error and len(error) < 700


def test_json(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    explain(gradviz, 2.5, "b")
    result = gradviz("compare", "a", "b", "--json")
    assert result.exit_code == 6

    def bare(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    document = json.loads(result.stdout, parse_constant=bare)
    assert {key: document[key] for key in ("schema", "kind", "ok", "metric", "tolerance")} == {
        "schema": 1,
        "kind": "compare",
        "ok": False,
        "metric": "relative-l2",
        "tolerance": 0.03,
    }
    assert [run["path"] for run in document["runs"]] == ["a", "b"]
    assert len(document["warnings"]) == 1
    values = {"relative": 0.2, "relative-l2": 0.2, "max": 0.5, "cosine": 1, "iou": 1}
    assert document["items"] == [
        {
            "run": 1,
            "image": image,
            "seed": "ones",
            "ok": False,
            "value": pytest.approx(0.2),
            "problems": [],
            "measured": {"gradient": pytest.approx(values)},
            "facts": {},
        }
        for image in ("p.png", "q.png")
    ]


def test_json_stays_strict_where_values_are_infinite(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, float("inf"), "a")
    explain(gradviz, 2, "b")
    result = gradviz("compare", "a", "b", "--json")
    assert result.exit_code == 6
    (first, _) = json.loads(result.stdout, parse_constant=lambda c: pytest.fail(c))["items"]
    assert first["problems"] == ["gradient: 36 values are NaN or Inf in one run and not the other"]


def test_pictures(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    explain(gradviz, 2.5, "b")
    result = gradviz("compare", "a", "b", "-o", "out")
    assert result.exit_code == 6
    assert "; see out, and if it is meant, keep b in place of a" in result.stderr
    document = json.loads(Path("out/compare.json").read_text())
    for item in document["items"]:
        assert item["files"] == {"gradient": f"{item['image']}/ones/gradient.png"}
        assert item["scales"] == {"gradient": 0.5}
        a, b, difference = thirds(Path("out") / item["files"]["gradient"])
        # Both are positive, and B has the end of the common scale.
        assert (b[0] > b[2], a[0] > a[2], a[2] > b[2]) == (True, True, True)
        assert difference[2] > difference[0]  # B is larger everywhere


def thirds(path: Path) -> list[tuple[int, ...]]:
    """The commonest colour, but for white, of each third of a picture from left to right."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    found = []
    for third in np.array_split(pixels, 3, axis=1):
        colours, counts = np.unique(third.reshape(-1, 3), axis=0, return_counts=True)
        counts[(colours == 255).all(axis=1)] = 0
        found.append(tuple(map(int, colours[counts.argmax()])))
    return found


def test_several_runs_are_compared_with_the_first(gradviz: Gradviz, photos: Path) -> None:
    for number, out in ((2, "a"), (2, "deep/x"), (3, "deep/y")):
        explain(gradviz, number, out)
    result = gradviz("compare", "a", "deep/x", "deep/y", "-o", "out")
    assert result.exit_code == 6
    head, *rows = (line.split() for line in result.stdout.splitlines())
    assert head[:4] == ["verdict", "run", "image", "seed"]
    assert [row[:3] for row in rows] == [
        ["DIFFERS", "y", "p.png"],
        ["DIFFERS", "y", "q.png"],
        ["ok", "x", "p.png"],
        ["ok", "x", "q.png"],
    ]
    assert "2 of 4 differ; the worst is p.png (ones) in deep/y: " in result.stderr
    assert "keep deep/y in place of a" in result.stderr
    assert "warning: deep/x: the runs were made" not in result.stderr
    document = json.loads(Path("out/compare.json").read_text())
    assert [run["path"] for run in document["runs"]] == ["a", "deep/x", "deep/y"]
    assert [(item["run"], item["ok"]) for item in document["items"]] == [
        *[(2, False), (2, False)],
        *[(1, True), (1, True)],
    ]
    assert {item["files"]["gradient"] for item in document["items"]} == {
        "p.png/ones/gradient.png",
        "q.png/ones/gradient.png",
    }
    assert gradviz("report", "out", "-o", "page.html").exit_code == 0
    again = gradviz("compare", "a", "deep/x", "-o", "out", "--overwrite", "-q")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")


def test_an_output_folder_is_not_replaced_unasked(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    explain(gradviz, 2.5, "b")
    assert gradviz("compare", "a", "a", "-o", "out").exit_code == 0
    Path("out/mine.txt").touch()
    again = gradviz("compare", "a", "b", "-o", "out")
    assert (again.exit_code, json.loads(Path("out/compare.json").read_text())["ok"]) == (2, True)
    assert "out: holds a run; give --overwrite to replace it, or another -o" in again.stderr
    assert gradviz("compare", "a", "b", "-o", "out", "--overwrite").exit_code == 6
    assert not json.loads(Path("out/compare.json").read_text())["ok"]
    assert Path("out/mine.txt").exists()


@pytest.mark.parametrize("out", ["a", "b", "photos/../b"])
def test_neither_run_is_overwritten(gradviz: Gradviz, photos: Path, out: str) -> None:
    explain(gradviz, 2, "a")
    explain(gradviz, 2, "b")
    result = gradviz("compare", "a", "b", "-o", out, "--overwrite")
    assert result.exit_code == 2
    assert "is one of the runs to compare; choose another -o" in result.stderr
    assert gradviz("compare", "a", "b", "-q").exit_code == 0


def test_pictures_are_not_taken_for_images(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    assert gradviz("compare", "a", "a", "-o", "photos/out").exit_code == 0
    explain(gradviz, 2, "b")
    assert len(Path("b/results.jsonl").read_text().splitlines()) == 2


def test_receptive_fields(gradviz: Gradviz, photos: Path) -> None:
    for side in (3, 5):
        model = script(blur(side), f"blur{side}.ts")
        out = f"f{side}"
        assert (
            gradviz("receptive-field", model, "photos", "-o", out, "--pixel", "0,0").exit_code == 0
        )
    same = gradviz("compare", "f3", "f3", "--json")
    assert (same.exit_code, json.loads(same.stdout)["ok"]) == (0, True)
    result = gradviz("compare", "f3", "f5", "--json", "-o", "out", "--tolerance", "0.1")
    assert result.exit_code == 6
    items = {item["image"]: item for item in json.loads(result.stdout)["items"]}
    assert set(items) == {None, "mean", "p.png", "q.png"}
    assert "size was [3, 3], is [5, 5]" in items[None]["problems"]
    # At the corner of 4×3 pixels, a side of 3 reaches 2×2 pixels and one of 5 3×3.
    field = items["p.png"]
    assert field["facts"]["box"] == [[0, 0, 1, 1], [0, 0, 2, 2]]
    assert field["measured"]["structural"]["iou"] == pytest.approx(4 / 9)
    assert field["problems"] == ["box was [0, 0, 1, 1], is [0, 0, 2, 2]"]
    with Image.open(Path("out") / field["files"]["structural"]) as picture:
        colours = np.asarray(picture)[:225]  # above the colour bar
    assert (colours == (0, 80, 200)).all(axis=2).sum() == 5 * 64**2  # enlarged to 256 pixels


def test_runs_without_arrays(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a", "--array", "none")
    explain(gradviz, 2.5, "b")
    result = gradviz("compare", "a", "b", "-o", "out")
    assert result.exit_code == 6
    assert "warning: p.png (ones), q.png (ones): without arrays in both runs" in result.stderr
    assert json.loads(Path("out/compare.json").read_text())["items"][0]["files"] == {}
    refused = gradviz("compare", "a", "b", "--metric", "iou")
    assert refused.exit_code == 2
    assert "--metric iou: compares arrays" in refused.stderr


def test_an_image_that_fails_in_one_run(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    (photos / "q.png").write_text("broken")
    explain(gradviz, 2, "b")
    result = gradviz("compare", "a", "b", "-q")
    assert result.exit_code == 6
    assert "1 of 2 differ; the worst is q.png (ones): failed in B: photos/q.png: " in result.stderr


def test_runs_of_two_kinds(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    gradviz("receptive-field", script(blur(3), "blur.ts"), "-o", "b")
    result = gradviz("compare", "a", "b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: a is a run of saliency, b of receptive-field; name runs of one kind\n"
    )


@pytest.mark.parametrize("other", ["nowhere", "photos", "photos/p.png"])
def test_a_folder_that_is_no_run(gradviz: Gradviz, photos: Path, other: str) -> None:
    explain(gradviz, 2, "a")
    result = gradviz("compare", "a", other)
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {other}: holds no run.json, so it is no run; name the folder that saliency or "
        "receptive-field wrote with -o\n"
    )


@pytest.mark.parametrize("tolerance", ["nan", "-1"])
def test_a_tolerance_that_is_none(gradviz: Gradviz, tolerance: str) -> None:
    result = gradviz("compare", "a", "b", "--tolerance", tolerance)
    assert result.exit_code == 2
    assert "give a number, at least 0" in result.stderr


def test_names_that_look_like_markup_or_break_lines(gradviz: Gradviz, photos: Path) -> None:
    (photos / "q.png").rename(photos / "a[b]\n[c].png")
    explain(gradviz, 2, "a")
    explain(gradviz, 2.5, "b")
    result = gradviz("compare", "a", "b", "-o", "out")
    assert result.exit_code == 6
    assert "a[b] [c].png" in result.stdout
    assert "a[b] [c].png" in result.stderr
    assert len(result.stdout.splitlines()) == 3


@pytest.mark.process
def test_torch_is_not_needed(gradviz: Gradviz, photos: Path) -> None:
    explain(gradviz, 2, "a")
    script = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['gradviz', 'compare', 'a', 'a', "
        "'-o', 'out']; from gradviz.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
