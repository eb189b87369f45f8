"""Names that a file may have and people do not expect, links that leave the tree, many files.

Most of it runs in this process; the test of many files takes a process of its own.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.helpers.commands import Gradviz, lines, statuses
from tests.helpers.formats import script
from tests.helpers.processes import gradviz as process
from tests.helpers.processes import photos

NAMES = {
    "markup": "[bold]a[/]b[link=x].png",
    "newline": "one\ntwo\t.png",
    "emoji": "🦊é.png",
    "no UTF-8": os.fsdecode(b"caf\xe9\xff.png"),
    "255 bytes": 251 * "a" + ".png",
    "dash": "-rf.png",
    "option": "--overwrite.png",
    "terminal codes": "\x1b[31mred\x1b[2J\x07.png",
    "backwards": "\u202egnp.exe.png",
    "glob": "[a-z]*?.png",
    "quotes": "'\"$HOME`;.png",
    "backslash": "a\\b.png",
    "space": " .png",
    "dots": "a...png",
    "hidden in a run": "results.jsonl.png",
}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    script("x * x / 2", tmp_path / "model.ts")
    return photos(tmp_path / "photos", 1) / "0000.png"


@pytest.mark.parametrize("kind", NAMES)
def test_an_odd_name(kind: str, gradviz: Gradviz, photo: Path) -> None:
    """The picture beside it cannot be read, and its message has to show the odd name too."""
    name = NAMES[kind]
    for place in (Path(kind, name), Path(kind, "broken", name)):
        place.parent.mkdir(parents=True)
        shutil.copy(photo, place)
    place.write_bytes(b"")
    result = gradviz("saliency", "model.ts", kind)
    assert result.exit_code == 4, result.stderr
    assert statuses() == {
        name: "ok",
        f"broken/{name}": "error",
    }
    errors = [row for row in result.stderr.split("\n") if row.startswith("error: ")]
    rows = result.stdout.split("\n")
    assert len(errors) == 1 and len(rows) == 2 and rows[1] == ""
    # What is shown does nothing to a terminal, and nothing was taken for markup.
    assert all(text.isprintable() for text in (*result.stderr.split("\n"), *rows[0].split("\t")))
    if kind in ("markup", "glob", "quotes", "backslash", "emoji"):
        assert name in errors[0] and name in rows[0]
    assert (Path("gradviz-out") / name / "ones" / "overlay.png").exists()
    again = gradviz("saliency", "model.ts", kind, "--resume")
    assert again.exit_code == 4 and len(lines()) == 2
    compared = gradviz("compare", "gradviz-out", "gradviz-out")
    assert compared.exit_code == 0, compared.stderr
    field = gradviz("receptive-field", "model.ts", f"{kind}/{name}", "-o", "field")
    assert field.exit_code == 0, field.stderr
    assert all(text.isprintable() for text in field.stdout.replace("\t", "\n").split("\n"))


def test_a_name_that_begins_with_a_dash(gradviz: Gradviz, photo: Path) -> None:
    shutil.move(photo, "-rf.png")
    assert "No such option" in gradviz("saliency", "model.ts", "-rf.png").stderr
    assert gradviz("saliency", "model.ts", "--", "-rf.png").exit_code == 0
    assert gradviz("saliency", "model.ts", "*.png", "--overwrite").exit_code == 0


def test_seed_files_whose_names_are_no_utf_8(gradviz: Gradviz, photo: Path) -> None:
    """Their folders would have one name, and so are told apart by a hash."""
    specs = [f"mask:{os.fsdecode(name)}" for name in (b"\xe9.png", b"\xff.png")]
    for spec in specs:
        shutil.copy(photo, spec.partition(":")[2])
    result = gradviz("saliency", "model.ts", photo, "--seed", specs[0], "--seed", specs[1])
    assert result.exit_code == 0, result.stderr
    assert [line["seed"] for line in lines()] == specs
    assert len({line["files"]["heatmap"] for line in lines()}) == 2


def test_one_name_in_different_folders(gradviz: Gradviz, photo: Path) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        shutil.copy(photo, Path(folder) / "x.png")
    refused = gradviz("saliency", "model.ts", "a/x.png", "b/x.png")
    assert refused.exit_code == 2 and not Path("gradviz-out").exists()
    assert "a/x.png" in refused.stderr and "b/x.png" in refused.stderr
    for arguments in (["."], ["[ab]/x.png"]):
        result = gradviz("saliency", "model.ts", *arguments, "--overwrite")
        assert result.exit_code == 0, result.stderr
        assert {"a/x.png", "b/x.png"} <= {line["image"] for line in lines()}


def test_links_that_leave_the_tree(gradviz: Gradviz, photo: Path, tmp_path: Path) -> None:
    """They are followed, for they are the user's own; results stay in the output folder."""
    outside, tree = photos(tmp_path / "outside", 2), tmp_path / "tree"
    tree.mkdir()
    shutil.copy(photo, tree / "own.png")
    (tree / "folder").symlink_to("../outside")
    (tree / "file.png").symlink_to(photo)
    (tree / "parent").symlink_to("..")
    (tree / "round.png").symlink_to("round.png")
    (tree / "gone.png").symlink_to("nowhere.png")
    before = {path: path.stat().st_mtime_ns for path in outside.iterdir()}
    result = gradviz("saliency", "model.ts", "tree")
    assert result.exit_code == 4
    found = statuses()
    assert found == {
        "own.png": "ok",
        "file.png": "ok",
        "folder/0000.png": "ok",
        "folder/0001.png": "ok",
        "gone.png": "error",
        "round.png": "error",
    }
    assert {path: path.stat().st_mtime_ns for path in outside.iterdir()} == before


def test_links_in_the_output_folder_that_leave_it(
    gradviz: Gradviz, photo: Path, tmp_path: Path
) -> None:
    """A folder of an old run became a link: what lies behind it is neither removed nor written."""
    assert gradviz("saliency", "model.ts", photo).exit_code == 0
    precious = tmp_path / "precious" / "ones"
    precious.mkdir(parents=True)
    (precious / "heatmap.png").write_bytes(b"precious")
    shutil.rmtree("gradviz-out/0000.png")
    Path("gradviz-out/0000.png").symlink_to(precious.parent)
    result = gradviz("saliency", "model.ts", photo, "--overwrite", "--view", "gray")
    assert result.exit_code == 2 and "0000.png is a link" in result.stderr
    assert (precious / "heatmap.png").read_bytes() == b"precious"
    assert [*precious.iterdir()] == [precious / "heatmap.png"]


MEASURED = """
import atexit, resource, sys
atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))
"""


@pytest.mark.process
def test_the_memory_of_a_run_does_not_grow_with_its_images(tmp_path: Path) -> None:
    """Of 1800 images more, less is kept than the gradient of each, 12 kB for 32 × 32 pixels."""
    model = script("x * x / 2", tmp_path / "model.ts")
    options = ["--resize", "32", "--view", "gray", "--array", "none", "--batch-size", "50", "-q"]
    peaks = []
    for count in (200, 2000):
        folder = photos(tmp_path / f"photos{count}", count, size=(8, 8))
        out = tmp_path / f"out{count}"
        done = process("saliency", model, folder, "-o", out, *options, before=MEASURED)
        assert done.returncode == 0, done.stderr
        assert len(lines(out)) == count
        peaks.append(int(done.stderr.splitlines()[-1]) * 1024)
        shutil.rmtree(out)
    assert peaks[1] - peaks[0] < 1800 * 3 * 32 * 32 * 4


PIPED = {
    "mask": ["m.ts", "photos", "--inside", "pipe.png"],
    "masks": ["m.ts", "photos", "--inside", "masks"],
    "seed": ["m.ts", "photos", "--seed", "mask:pipe.png"],
    "cotangent": ["m.ts", "photos", "--seed", "tensor:pipe.png"],
    "baseline": ["m.ts", "photos", "--method", "integrated-gradients", "--baseline", "pipe.png"],
    "model": ["pipe.png", "photos"],
    "labels": ["m.ts", "photos", "--labels", "pipe.png"],
}


@pytest.mark.parametrize("words", PIPED.values(), ids=list(PIPED))
def test_a_pipe_that_nobody_writes_to(words: list[str], gradviz: Gradviz) -> None:
    """It would be waited for without end."""
    script("x * x / 2", "m.ts")
    photos(Path("photos"), 1)
    Path("masks").mkdir()
    for path in ("pipe.png", "masks/0000.png"):
        os.mkfifo(path)
    result = gradviz("saliency", *words)
    assert result.exit_code == 2, result.stderr
    (error,) = [row for row in result.stderr.splitlines() if row.startswith("error: ")]
    assert "is no regular file" in error and "decoded" not in error
