"""The folder of a run: what is written, kept, refused, and taken away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from gradviz.errors import UsageError
from gradviz.runs.folder import Store
from gradviz.text import strict_json

IMAGES = [{"name": name, "bytes": 1} for name in ("deep/a.png", "a.png", "b.png")]
RECORD = {
    "settings": {"clip": 99.0},
    "command": ["a"],
    "images": IMAGES,
    "writes": ["gradient.npy"],
}


def result(store: Store, image: str, seed: str = "ones") -> dict[str, Any]:
    name = f"{image}/{seed}/gradient.npy"
    store.save(name, lambda file: file.write(b"numbers"))
    line = {"image": image, "seed": seed, "status": "ok", "files": {"gradient": name}}
    store.append(line)
    return line


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "out")
    store.begin(RECORD)
    return store


def test_json_is_strict() -> None:
    value = {"a": [1.5, float("nan")], "b": (float("inf"), -float("inf")), "c": None, "d": True}
    text = strict_json(value)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [1.5, None],
        "b": [None, None],
        "c": None,
        "d": True,
    }


def test_names_that_are_not_text_survive(store: Store) -> None:
    odd = result(store, "a\u2028b\n\udcff.png")
    assert store.lines() == [odd]


def test_lines_of_all_shards_come_in_the_order_of_images(store: Store) -> None:
    late, early = result(store, "b.png"), result(store, "a.png")
    between = {**early, "image": "aa.png"}
    (store.out / "results.2-of-2.jsonl").write_text(json.dumps(between) + "\n")
    assert store.lines() == [early, between, late]


def test_a_file_is_whole_or_absent(store: Store) -> None:
    def breaks(file: BinaryIO) -> None:
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.save("x/y.npy", breaks)
    assert list((store.out / "x").iterdir()) == []
    store.save("x/y.npy", lambda file: file.write(b"old"))
    with pytest.raises(ZeroDivisionError):
        store.save("x/y.npy", breaks)
    assert (store.out / "x/y.npy").read_bytes() == b"old"
    assert [path.name for path in (store.out / "x").iterdir()] == ["y.npy"]


def test_a_line_cut_short_by_a_crash_is_left_out(store: Store) -> None:
    whole = result(store, "a.png")
    with (store.out / "results.jsonl").open("a") as file:
        file.write('{"image": "b.png", "sta')
    assert store.lines() == [whole]


def test_a_broken_line_in_the_middle_is_no_accident(store: Store) -> None:
    (store.out / "results.jsonl").write_text('broken\n{"image": "a", "status": "ok"}\n')
    with pytest.raises(UsageError, match=r"results\.jsonl:1: not a result"):
        store.lines()


def test_results_are_not_written_over_unasked(store: Store) -> None:
    result(store, "a.png")
    with pytest.raises(UsageError, match="--overwrite"):
        store.check(overwrite=False, resume=False)
    store.check(overwrite=True, resume=False)
    store.check(overwrite=False, resume=True)


def test_a_run_that_brought_nothing_may_be_replaced(store: Store) -> None:
    store.append({"image": "a.png", "seed": None, "status": "error", "error": {}})
    store.check(overwrite=False, resume=False)


def test_a_new_run_takes_away_what_the_old_one_wrote_and_nothing_else(store: Store) -> None:
    result(store, "deep/a.png")
    # What a killed run leaves: a file without a line, and half a file.
    store.save("a.png/ones/gradient.npy", lambda file: file.write(b"orphan"))
    (store.out / "a.png/ones/.gradient.npy.part").write_bytes(b"half")
    mine = store.out / "deep" / "notes.txt"
    mine.write_text("mine")
    result(store, "b.png")
    store.begin(RECORD)
    assert sorted(str(path.relative_to(store.out)) for path in store.out.rglob("*")) == [
        "deep",
        "deep/notes.txt",
        "run.json",
    ]


def test_a_forged_record_cannot_delete_outside(store: Store) -> None:
    outside = store.out.parent / "x" / "precious"
    outside.parent.mkdir()
    outside.write_text("precious")
    forged = {**RECORD, "images": [{"name": ".."}], "writes": ["precious"]}
    (store.out / "run.json").write_text(json.dumps(forged))
    store.begin(RECORD)
    assert outside.exists()


@pytest.mark.parametrize("record", ["", "[]", "{", '{"images": 3}', '{"images": [[]]}'])
def test_a_damaged_record_can_be_replaced(record: str, store: Store) -> None:
    (store.out / "run.json").write_text(record)
    (store.out / "results.jsonl").write_text("broken\nbroken\n")
    store.check(overwrite=True, resume=False)
    store.begin(RECORD)
    assert store.run() == RECORD and store.lines() == []


def test_resume_does_an_image_again_that_has_changed(store: Store) -> None:
    kept, _ = result(store, "a.png"), result(store, "b.png")
    changed = [{**image, "bytes": 2} if image["name"] == "b.png" else image for image in IMAGES]
    now = {**RECORD, "images": changed}
    assert store.resume(now) == [kept]
    assert store.run() == now


def test_resume_keeps_results_whose_files_are_all_there(store: Store) -> None:
    kept, lost = result(store, "a.png"), result(store, "b.png")
    store.append({"image": "c.png", "seed": "ones", "status": "error", "error": {}})
    (store.out / lost["files"]["gradient"]).unlink()
    assert store.resume(RECORD) == [kept]
    assert store.resume({**RECORD, "command": ["b"]}) == [kept]


def test_resume_of_nothing_begins(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    assert store.resume(RECORD) == []
    assert store.run() == RECORD


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"settings": {"clip": 98.0}}, "settings.clip was 99.0, is 98.0"),
        ({"images": [*IMAGES, {"name": "y.png"}]}, "images: 1 added, 0 gone"),
    ],
)
def test_resume_of_another_run_is_refused(
    store: Store, other: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        store.resume({**RECORD, **other})
    assert message in str(error.value)


def test_an_unusable_folder_is_noticed_and_nothing_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="file is not a folder"):
            Store(out).check(overwrite=False, resume=False)
    Store(tmp_path / "new" / "deep").check(overwrite=False, resume=False)
    assert not (tmp_path / "new").exists()


def test_what_the_disk_refuses_is_said_in_one_line(store: Store) -> None:
    (store.out / "a.png").write_text("in the way")
    with pytest.raises(UsageError, match=r"a\.png"):
        store.save("a.png/ones/gradient.npy", lambda file: file.write(b""))
