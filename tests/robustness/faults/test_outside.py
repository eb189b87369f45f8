"""Files outside of the output folder, and the user's own files in it, survive every run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from gradviz.backward.methods import METHODS
from gradviz.commands.receptive_field.run import WRITES
from gradviz.errors import UsageError
from gradviz.heatmap.views import VIEW_NAMES
from gradviz.runs.names import (
    DEFAULT_SEEDS,
    RESULT_FILES,
    check_image_names,
    is_result_file,
    seed_folders,
)
from tests.helpers.formats import script
from tests.helpers.processes import photos

Gradviz = Callable[..., Result]

OUT = Path("place/out")


@pytest.fixture
def words(gradviz: Gradviz, tmp_path: Path) -> list[str]:
    """A finished run of two images in place/out, with files of the user's own around."""
    command = [
        "saliency",
        str(script("x * x / 2", tmp_path / "model.ts")),
        str(photos(tmp_path / "in", 2)),
    ]
    command += ["-o", str(OUT), "--view", "gray", "--seed", "ones"]
    assert gradviz(*command).exit_code == 0
    for path in ("beside.txt", "place/above.txt", "elsewhere/ones/gray.png", *INSIDE):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(f"canary {path}")
    return command


INSIDE = (
    "place/out/notes.txt",
    "place/out/.hidden",
    "place/out/results-mine.jsonl",
    "place/out/mine/gradient.npy",
    "place/out/mine/ones/gray.txt",
    "place/out/0000.png/notes.txt",
    "place/out/0000.png/mine/gradient.npy",
    "place/out/0000.png/mine/gray.png",
    "place/out/0000.png/ones/notes.txt",
)


def canaries() -> dict[Path, str]:
    """All files that still say what the user wrote into them."""
    files = [path for path in Path().rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        path: path.read_text() for path in files if path.read_bytes() == f"canary {path}".encode()
    }


def change(name: str, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit every line of a JSON file of the run."""
    path = OUT / name
    content = path.read_text()
    rows = [json.loads(row) for row in ([content] if name == "run.json" else content.splitlines())]
    for row in rows:
        edit(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


AGAIN = [["--overwrite"], ["--resume"], ["--shard", "1/2"], ["--shard", "1/2", "--overwrite"]]


@pytest.mark.parametrize("again", AGAIN, ids=" ".join)
@pytest.mark.parametrize(
    "name",
    [
        "../above.txt",
        "../../beside.txt",
        "{}/beside.txt",
        "notes.txt",
        "mine/gradient.npy",
        "0000.png/mine/gradient.npy",
        "0000.png/ones/notes.txt",
    ],
)
def test_a_line_of_results_that_names_other_files(
    name: str, again: list[str], gradviz: Gradviz, words: list[str], tmp_path: Path
) -> None:
    before = canaries()
    if "--shard" in again:
        (OUT / "results.jsonl").rename(OUT / "results.1-of-2.jsonl")
    results = next(path.name for path in OUT.glob("results.*"))
    change(results, lambda line: line["files"].update(gradient=name.format(tmp_path)))
    result = gradviz(*words, *again)
    assert result.exit_code in (0, 2), result.stderr
    assert canaries() == before and len(before) == 3 + len(INSIDE)


@pytest.mark.parametrize("again", AGAIN, ids=" ".join)
@pytest.mark.parametrize(
    "record",
    [
        {"images": [{"name": "."}, {"name": ".."}, {"name": "mine"}, {"name": ""}]},
        {"images": [{"name": "0000.png"}], "settings": {}},
        {"images": [{"name": "../../elsewhere"}, {"name": "0000.png/.."}]},
    ],
    ids=str,
)
def test_a_record_that_names_other_files(
    record: dict[str, Any], again: list[str], gradviz: Gradviz, words: list[str]
) -> None:
    before = canaries()
    everything = [path.name for path in before]
    for image in record["images"]:
        image["path"] = "/gone"
    change("run.json", lambda content: content.update(writes=everything, **record))
    result = gradviz(*words, *again)
    assert result.exit_code in (0, 2), result.stderr
    assert canaries() == before


@pytest.mark.parametrize("again", AGAIN, ids=" ".join)
@pytest.mark.parametrize(
    "name",
    [
        "0000.png",
        "0000.png/ones",
        "0000.png/ones/.gradient.npy.part",
        "0000.png/ones/gradient.npy",
        ".run.json.part",
        "run.json",
        "environment.json",
        ".lock",
        "results.jsonl",
        ".results.jsonl.part",
        "results.1-of-2.jsonl",
    ],
)
def test_a_link_that_leads_out_of_the_folder(
    name: str, again: list[str], gradviz: Gradviz, words: list[str], tmp_path: Path
) -> None:
    place = OUT / name
    folder = place.is_dir()
    if place.exists():
        place.rename(tmp_path / "was")
    target = Path("elsewhere") if name == "0000.png" else Path("elsewhere/ones")
    place.symlink_to((target if folder else Path("beside.txt")).absolute())
    before, there = canaries(), sorted(Path("elsewhere").rglob("*"))
    result = gradviz(*words, *again)
    assert result.exit_code in (0, 2) and "Traceback" not in result.stderr, result.stderr
    assert canaries() == before
    assert sorted(Path("elsewhere").rglob("*")) == there


def test_overwriting_removes_what_the_run_wrote_and_nothing_else(
    gradviz: Gradviz, words: list[str]
) -> None:
    before = canaries()
    for name in ("0001.png", "0000.png"):
        Path("in", name).rename(Path("in", f"new-{name}"))
    (OUT / "0000.png/ones/.gray.png.part").write_bytes(b"half")
    assert gradviz(*words, "--overwrite").exit_code == 0
    assert canaries() == before
    left = {str(path.relative_to(OUT)) for path in OUT.rglob("000*/**/*") if path.is_file()}
    assert left == {path.removeprefix(f"{OUT}/") for path in INSIDE if "0000.png" in path}
    assert not (OUT / "0001.png").exists()


def test_a_lock_file_of_somebody_else_stays(gradviz: Gradviz, words: list[str]) -> None:
    (OUT / ".lock").write_text("mine")
    result = gradviz(*words, "--overwrite")
    assert result.exit_code == 2 and "is no lock of a run" in result.stderr
    assert (OUT / ".lock").read_text() == "mine"


def test_the_figure_is_written_through_no_link(gradviz: Gradviz, words: list[str]) -> None:
    before = canaries()
    Path(".figure.svg.part").symlink_to("beside.txt")
    Path("figure.svg").symlink_to("place/above.txt")
    assert gradviz(*words, "--overwrite", "--figure", "figure.svg").exit_code == 0
    assert canaries() == before and not Path("figure.svg").is_symlink()


@pytest.mark.parametrize("model", ["boxes.yaml", "shapes.yaml", "depth.ts"])
def test_results_of_a_default_seed_are_replaced_though_no_line_names_them(
    gradviz: Gradviz, models: Path, images: Path, model: str
) -> None:
    first = gradviz("saliency", models / model, images / "shapes_04.png", "-o", "default")
    assert first.exit_code == 0, first.stderr
    Path("default/results.jsonl").unlink()
    assert Path("default/shapes_04.png").is_dir()
    again = gradviz("receptive-field", models / "depth.ts", "-o", "default", "--overwrite")
    assert again.exit_code == 0, again.stderr
    assert not Path("default/shapes_04.png").exists()


def test_the_tables_of_names_are_complete() -> None:
    stems = {method.writes for method in METHODS.values()}
    stems |= {"activation", "magnitude", *VIEW_NAMES}
    assert stems | {name.partition(".")[0] for name in WRITES} == RESULT_FILES
    assert all(map(is_result_file, WRITES))
    assert set(seed_folders(DEFAULT_SEEDS).values()) == {"ones", "top", "box-0"}
    assert not any(map(is_result_file, ["gradient", "notes.npy", "heatmap.txt", ".npy", "a/b.png"]))


@pytest.mark.parametrize(
    "names",
    [
        ["run.json"],
        ["environment.json"],
        ["a.png", "run.json/a.png"],
        [".lock"],
        ["results.jsonl"],
        ["results.1-of-2.jsonl/x.png"],
        ["x.png", "x.png/ones/heatmap.png"],
        ["a/x.png", "a/x.png/top/gradient.npy/deep.png"],
    ],
)
def test_images_whose_results_would_lie_on_others_are_refused(names: list[str]) -> None:
    with pytest.raises(UsageError, match="an image cannot be called"):
        check_image_names(names)


def test_other_nested_names_are_taken() -> None:
    check_image_names(
        ["x.png", "x.png/y.png", "x.png/ones/photo.png", "a/run.json", "ones/heatmap.png"]
    )


def test_folders_of_long_seeds_are_shortened() -> None:
    long = [f"mask:{n * 'a'}.png" for n in (245, 246, 247, 300)]
    folders = seed_folders([*long, "mask:" + 299 * "a" + "b.png"])
    assert max(len(os.fsencode(name)) for name in folders.values()) == 255
    assert len({*folders.values()}) == 5 and folders[long[0]] == f"mask-{245 * 'a'}.png"
