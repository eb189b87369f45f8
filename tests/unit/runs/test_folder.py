"""The folder of a run: what is written, kept, refused, and taken away."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from gradviz.errors import UsageError
from gradviz.runs.names import is_below
from gradviz.runs.results import read_lines
from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import Done, Failed, RunRecord
from gradviz.text import strict_json
from tests.helpers import documents

IMAGES = [documents.image(name) for name in ("deep/a.png", "a.png", "b.png")]


def record(**changed: Any) -> RunRecord:
    given = {"images": IMAGES, "settings": {"clip": 99.0}, "writes": ["gradient.npy"], **changed}
    return RunRecord.model_validate(documents.run_record("saliency", **given))


RECORD = record()


def result(folder: RunWriter, image: str, seed: str = "ones") -> Done:
    name = f"{image}/{seed}/gradient.npy"
    folder.save(name, lambda file: np.save(file, np.ones(3)))
    line = Done.model_validate(documents.done(image, seed, {"gradient": name}))
    folder.append(line)
    return line


def failure(image: str, seed: str | None = None) -> Failed:
    return Failed.model_validate(documents.failed(image, seed))


@pytest.fixture
def folder(tmp_path: Path) -> RunWriter:
    folder = RunWriter(tmp_path / "out")
    folder.begin(RECORD)
    return folder


def test_json_is_strict() -> None:
    value = {"a": [1.5, float("nan")], "b": (float("inf"), -float("inf")), "c": None, "d": True}
    text = strict_json(value)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [1.5, None],
        "b": [None, None],
        "c": None,
        "d": True,
    }


def test_names_that_are_not_text_survive(folder: RunWriter) -> None:
    odd = result(folder, "a\u2028b\n\udcff.png")
    assert folder.lines() == [odd]


def test_lines_of_all_shards_come_in_the_order_of_images(folder: RunWriter) -> None:
    late, early = result(folder, "b.png"), result(folder, "a.png")
    between = early.model_copy(update={"image": "aa.png"})
    (folder.out / "results.2-of-2.jsonl").write_text(between.json_text(indent=None))
    assert folder.lines() == [early, between, late]


def test_a_file_is_whole_or_absent(folder: RunWriter) -> None:
    def breaks(file: BinaryIO) -> None:
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        folder.save("x/y.npy", breaks)
    assert list((folder.out / "x").iterdir()) == []
    folder.save("x/y.npy", lambda file: file.write(b"old"))
    with pytest.raises(ZeroDivisionError):
        folder.save("x/y.npy", breaks)
    assert (folder.out / "x/y.npy").read_bytes() == b"old"
    assert [path.name for path in (folder.out / "x").iterdir()] == ["y.npy"]


def test_a_line_cut_short_by_a_crash_is_left_out(folder: RunWriter) -> None:
    whole = result(folder, "a.png")
    with (folder.out / "results.jsonl").open("a") as file:
        file.write('{"image": "b.png", "sta')
    assert folder.lines() == [whole]


def test_a_broken_line_in_the_middle_is_no_accident(folder: RunWriter) -> None:
    (folder.out / "results.jsonl").write_text('broken\n{"image": "a", "status": "ok"}\n')
    with pytest.raises(UsageError, match=r"results\.jsonl:1: not a result"):
        folder.lines()


def test_a_broken_line_is_named_as_the_user_named_the_folder(
    folder: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is read by its real path."""
    (folder.out / "results.jsonl").write_text("broken\nbroken\n")
    monkeypatch.chdir(folder.out.parent)
    with pytest.raises(UsageError, match=r"^out/results\.jsonl:1: "):
        RunWriter(Path("out")).lines()
    with pytest.raises(UsageError, match=r"^out/results\.jsonl:1: "):
        list(read_lines(Path("out/results.jsonl")))


def test_results_are_not_written_over_unasked(folder: RunWriter) -> None:
    result(folder, "a.png")
    with pytest.raises(UsageError, match="--overwrite"):
        folder.check(overwrite=False, resume=False)
    folder.check(overwrite=True, resume=False)
    folder.check(overwrite=False, resume=True)


def test_a_run_that_brought_nothing_may_be_replaced(folder: RunWriter) -> None:
    folder.append(failure("a.png"))
    folder.check(overwrite=False, resume=False)
    assert [line.status for line in folder.lines()] == ["error"]  # looking takes nothing away


def test_a_new_run_takes_away_what_the_old_one_wrote_and_nothing_else(folder: RunWriter) -> None:
    result(folder, "deep/a.png")
    # What a killed run leaves: a file without a line, and half a file.
    folder.save("a.png/ones/gradient.npy", lambda file: file.write(b"orphan"))
    (folder.out / "a.png/ones/.gradient.npy.part").write_bytes(b"half")
    mine = folder.out / "deep" / "notes.txt"
    mine.write_text("mine")
    result(folder, "b.png")
    folder.begin(RECORD)
    assert sorted(str(path.relative_to(folder.out)) for path in folder.out.rglob("*")) == [
        "deep",
        "deep/notes.txt",
        "environment.json",
        "run.json",
    ]


def test_a_forged_record_cannot_delete_outside(folder: RunWriter) -> None:
    outside = folder.out.parent / "x" / "precious"
    outside.parent.mkdir()
    outside.write_text("precious")
    forged = record(images=[documents.image("..")], writes=["precious"])
    (folder.out / "run.json").write_text(forged.json_text())
    folder.begin(RECORD)
    assert outside.exists()


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"images": 3}', '{"images": [[]]}'])
def test_a_damaged_record_can_be_replaced(damage: str, folder: RunWriter) -> None:
    (folder.out / "run.json").write_text(damage)
    (folder.out / "results.jsonl").write_text("broken\nbroken\n")
    folder.check(overwrite=True, resume=False)
    folder.begin(RECORD)
    assert folder.record() == RECORD and folder.lines() == []


def test_resume_does_an_image_again_that_has_changed(folder: RunWriter) -> None:
    kept, _ = result(folder, "a.png"), result(folder, "b.png")
    changed = [{**image, "bytes": 2} if image["name"] == "b.png" else image for image in IMAGES]
    now = record(images=changed)
    assert folder.resume(now) == [kept]
    assert folder.record() == now


def test_resume_keeps_results_whose_files_are_all_there(folder: RunWriter) -> None:
    kept, lost = result(folder, "a.png"), result(folder, "b.png")
    folder.append(failure("c.png", "ones"))
    (folder.out / lost.files["gradient"]).unlink()
    assert folder.resume(RECORD) == [kept]
    assert folder.resume(record(command=["b"])) == [kept]


def test_resume_of_nothing_begins(tmp_path: Path) -> None:
    folder = RunWriter(tmp_path / "new")
    assert folder.resume(RECORD) == []
    assert folder.record() == RECORD


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"settings": {"clip": 98.0}}, "settings.clip was 99.0, is 98.0"),
        ({"images": [*IMAGES, documents.image("y.png")]}, "images: 1 added, 0 gone"),
    ],
)
def test_resume_of_another_run_is_refused(
    folder: RunWriter, other: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        folder.resume(record(**other))
    assert message in str(error.value)


def test_an_unusable_folder_is_noticed_and_nothing_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="file is not a folder"):
            RunWriter(out).check(overwrite=False, resume=False)
    RunWriter(tmp_path / "new" / "deep").check(overwrite=False, resume=False)
    assert not (tmp_path / "new").exists()


def test_what_the_disk_refuses_is_said_in_one_line(folder: RunWriter) -> None:
    (folder.out / "a.png").write_text("in the way")
    with pytest.raises(UsageError, match=r"a\.png"):
        folder.save("a.png/ones/gradient.npy", lambda file: file.write(b""))


def test_a_large_array_lies_in_a_nameless_file_of_its_size(
    folder: RunWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is filled at once, so that a full disk is noticed before numbers are written."""
    monkeypatch.setattr("gradviz.runs.folder.IN_MEMORY", 800)
    monkeypatch.setattr("gradviz.runs.folder.CHUNK", 300)
    temporary, files = tempfile.TemporaryFile, []

    def kept(dir: Path) -> Any:
        file = temporary(dir=dir)
        files.append(os.dup(file.fileno()))
        return file

    monkeypatch.setattr("tempfile.TemporaryFile", kept)
    small, large = folder.allocate((199,)), folder.allocate((10, 20))
    (file,) = files
    assert small.shape == (199,) and large.shape == (10, 20) and large.dtype == np.float32
    assert os.fstat(file).st_size == 800 and not large.any()
    large[:] = 7
    assert os.pread(file, 4, 796) == np.float32(7).tobytes()
    os.close(file)
    assert {path.name for path in folder.out.iterdir()} == {"run.json", "environment.json"}


def test_no_descriptor_stays_open(folder: RunWriter) -> None:
    """A run of many images opens folders many times."""

    def work() -> None:
        for name in ("a.png", "deep/b.png"):
            result(folder, name)
        folder.begin(RECORD)

    work()
    before = sorted(Path("/dev/fd").iterdir())
    work()
    assert sorted(Path("/dev/fd").iterdir()) == before


def test_a_run_that_wrote_nothing_leaves_the_folders_that_were_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    folder = RunWriter(tmp_path / "empty" / "new" / "out")
    with pytest.raises(ZeroDivisionError), folder.held(overwrite=False, resume=False):
        assert folder.out.is_dir()
        raise ZeroDivisionError
    assert [*(tmp_path / "empty").iterdir()] == [] and (tmp_path / "empty").is_dir()


@pytest.mark.parametrize(
    ("name", "below"),
    [
        *(("a/b.png", True), ("caf\udce9.png", True), ("a..png", True)),
        *(("\ud800.png", False), ("a\0b", False), ("", False), ("/a", False), ("a//b", False)),
        *(("..", False), ("a/../b", False), ("./a", False), ("a/", False)),
    ],
)
def test_names_below_a_folder(name: str, below: bool) -> None:
    assert is_below(name) == below


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "./x", "", "a\0b", "\ud800"])
def test_nothing_is_written_outside_whatever_the_name(folder: RunWriter, name: str) -> None:
    before = sorted(folder.out.parent.rglob("*"))
    with pytest.raises(UsageError, match="is no name of a file below the output folder"):
        folder.save(name, lambda file: file.write(b"x"))
    assert sorted(folder.out.parent.rglob("*")) == before
