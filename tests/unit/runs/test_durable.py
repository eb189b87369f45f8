"""What a power cut may leave is computed again; a line is written once its files are safe."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from gradviz.runs import directory
from gradviz.runs.directory import Directory
from gradviz.runs.durable import SafeLines, is_whole
from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import RunRecord, parse_line
from tests.helpers import documents
from tests.helpers.formats import script
from tests.helpers.processes import photos

Gradviz = Callable[..., Result]


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "PNG")
    return file.getvalue()


ARRAY = npy(np.ones((3, 4, 5), np.float32))
WHOLE = {
    "plain.npy": ARRAY,
    "empty.npy": npy(np.ones((3, 0))),
    "second.npy": npy(np.ones(4, np.int8), (2, 0)),
    "picture.png": png(),
}
BROKEN = {
    "nothing.npy": b"",
    "zeros.npy": bytes(len(ARRAY)),
    "short.npy": ARRAY[:-1],
    "long.npy": ARRAY + b"\0",
    "header.npy": ARRAY[:40],
    "version.npy": ARRAY.replace(b"NUMPY\1", b"NUMPY\7"),
    "deep.npy": ARRAY.replace(b"(3, 4, 5)", b"(((((((((")[:70],
    "nothing.png": b"",
    "zeros.png": bytes(len(png())),
    "short.png": png()[:-1],
    "beginning.png": png()[:8],
    "other.txt": b"text",
}


@pytest.mark.parametrize("name", [*WHOLE, *BROKEN, "missing.npy", "folder.npy"])
def test_what_is_whole(name: str, tmp_path: Path) -> None:
    if name == "folder.npy":
        (tmp_path / name).mkdir()
    elif name != "missing.npy":
        (tmp_path / name).write_bytes({**WHOLE, **BROKEN}[name])
    assert is_whole(tmp_path / name) == (name in WHOLE)


@pytest.mark.parametrize("damage", [b"", bytes(500), b"\x93NUMPY"])
@pytest.mark.parametrize("name", ["gradient.npy", "gray.png"])
def test_a_result_that_lost_its_content_is_computed_again(
    name: str, damage: bytes, gradviz: Gradviz, tmp_path: Path
) -> None:
    words = ["saliency", script("x * x / 2", tmp_path / "model.ts"), photos(tmp_path / "in", 2)]
    words += ["--view", "gray", "--batch-size", "1"]
    assert gradviz(*words).exit_code == 0
    file = Path("gradviz-out/0001.png/ones", name)
    content = file.read_bytes()
    kept = Path("gradviz-out/0000.png/ones", name)
    stamp = kept.stat().st_mtime_ns
    file.write_bytes(damage)
    assert gradviz(*words, "--resume").exit_code == 0
    assert file.read_bytes() == content and kept.stat().st_mtime_ns == stamp


def test_lines_follow_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever lines are written, all files that they name were there when the disk was synced."""
    safe: set[Path] = set()
    out = tmp_path / "out"
    append = Directory.append

    def sync(self: Directory) -> None:
        safe.update(out.rglob("*.npy"))

    def appended(self: Directory, name: str, content: bytes) -> None:
        lines = [parse_line(json.loads(row)) for row in content.splitlines()]
        files = {out / file for line in lines for file in getattr(line, "files", {}).values()}
        assert files and files <= safe
        append(self, name, content)

    monkeypatch.setattr(Directory, "sync", sync)
    monkeypatch.setattr(Directory, "append", appended)
    folder = RunWriter(out)
    with folder.appending() as add:
        for n in range(20):
            name = f"{n}.png/ones/gradient.npy"
            folder.save(name, lambda file: file.write(ARRAY))
            add(parse_line(documents.done(f"{n}.png", "ones", {"gradient": name})))
            assert n or len(folder.own()) == 1  # the first one does not wait
    assert len(folder.own()) == 20


def test_lines_that_wait_are_written_whatever_happens() -> None:
    done: list[bytes | str] = []
    lines = SafeLines(lambda: done.append("safe"), done.append)
    for text in (b"a", b"b", b"c"):
        lines.add(text)
    assert done == ["safe", b"a"]
    lines.flush()
    lines.flush()
    assert done == ["safe", b"a", "safe", b"bc"]


def test_the_disk_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Directory(tmp_path).sync()
    asked: list[int] = []
    monkeypatch.setattr(directory, "_syncfs", lambda folder: asked.append(os.fstat(folder).st_ino))
    Directory(tmp_path).sync()
    assert asked == [tmp_path.stat().st_ino]


def test_resuming_takes_work_in_proportion_to_the_images(tmp_path: Path) -> None:
    """Counted in calls of functions: eight times the images once took 60 times as many."""
    calls = []
    for count in (100, 800):
        folder = RunWriter(tmp_path / str(count))
        images = [documents.image(f"{n:05}.png") for n in range(count)]
        record = RunRecord.model_validate(documents.run_record("saliency", images=images))
        folder.begin(record)
        folder.replace(parse_line(documents.done(f"{n:05}.png", "ones", {})) for n in range(count))
        found, made = counted(partial(folder.resume, record))
        assert len(found) == count
        calls.append(made)
    assert calls[0] > 100 and calls[1] <= 8 * calls[0], calls


def counted(function: Callable[[], Any]) -> tuple[Any, int]:
    """Call a function; its result, and how many functions were called on the way."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        result = function()
    finally:
        sys.setprofile(before)
    return result, calls
