"""What --resume keeps, computes again and refuses, and what a reader of the folder ever sees."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import Result

from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import parse_line
from tests.helpers import documents
from tests.helpers.commands import OUT, Gradviz, contents, lines
from tests.helpers.formats import script

SEEDS = ["--seed", "ones", "--seed", "pixel:1,1"]


def power(factor: float, path: str = "model.ts") -> str:
    """A model of which the gradient of the sum is factor · x."""
    return script(f"{factor} * x * x / 2", path)


@pytest.fixture
def command(gradviz: Gradviz) -> list[str]:
    """Four photos in batches of two, two seeds each."""
    Path("photos").mkdir()
    random = np.random.default_rng(0)
    for n in range(4):
        pixels = random.integers(1, 256, (3, 4, 3), np.uint8)
        Image.fromarray(pixels).save(f"photos/{n}.png")
    return ["saliency", power(1), "photos", "--batch-size", "2", "--view", "gray", "--resume"]


def by_name(record: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(record, key=lambda line: (line["image"], line["seed"]))


def refused(result: Result, says: str) -> None:
    assert result.exit_code == 2, result.stderr
    assert says in result.stderr and "Traceback" not in result.stderr


def test_a_batch_that_lacks_one_seed_of_one_image_is_done_again_as_a_whole(
    gradviz: Gradviz, command: list[str]
) -> None:
    command += SEEDS
    assert gradviz(*command).exit_code == 0
    whole, record = contents(), lines()
    assert len(record) == 8
    # As if killed in the middle of the second batch: 2.png has one of its seeds, 3.png has both.
    left = [line for line in record if (line["image"], line["seed"]) != ("2.png", "pixel:1,1")]
    (OUT / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in left))
    arrays = sorted(OUT.rglob("*.npy"))
    for path in arrays:
        os.utime(path, (1, 1))
    result = gradviz(*command)
    assert result.exit_code == 0, result.stderr
    assert contents() == whole
    assert by_name(lines()) == by_name(record)  # every result once
    touched = {path.parts[1] for path in arrays if path.stat().st_mtime != 1}
    kept = {path.parts[1] for path in arrays if path.stat().st_mtime == 1}
    assert (kept, touched) == ({"0.png", "1.png"}, {"2.png", "3.png"})


def test_a_run_that_is_whole_is_left_as_it_is(gradviz: Gradviz, command: list[str]) -> None:
    command += SEEDS
    assert gradviz(*command).exit_code == 0
    whole, record = contents(), lines()
    for path in OUT.rglob("*.npy"):
        os.utime(path, (1, 1))
    again = gradviz(*command)
    assert again.exit_code == 0 and "8 done, 0 failed" in again.stderr
    assert contents() == whole and by_name(lines()) == by_name(record)
    assert {path.stat().st_mtime for path in OUT.rglob("*.npy")} == {1}


def test_another_image_of_the_same_name_is_computed(gradviz: Gradviz, command: list[str]) -> None:
    assert gradviz(*command).exit_code == 0
    untouched = OUT / "0.png/ones/gradient.npy"
    os.utime(untouched, (1, 1))
    Image.new("RGB", (3, 4), (51, 102, 204)).save("photos/3.png")
    assert gradviz(*command).exit_code == 0
    found = np.load(OUT / "3.png/ones/gradient.npy")
    np.testing.assert_allclose(found[:, 0, 0], [0.2, 0.4, 0.8], rtol=1e-6)
    assert untouched.stat().st_mtime == 1
    assert [line["image"] for line in lines()] == [f"{n}.png" for n in range(4)]
    resumed = contents()
    assert gradviz(*command[:-1], "--overwrite").exit_code == 0
    assert contents() == resumed


@pytest.mark.parametrize("kind", ["mask", "tensor"])
def test_another_content_of_a_seeds_file_is_another_run(
    kind: str, gradviz: Gradviz, command: list[str]
) -> None:
    shape = (3, 4) if kind == "mask" else (3, 3, 4)
    np.save("v.npy", np.ones(shape))
    command += ["--seed", f"{kind}:v.npy"]
    assert gradviz(*command).exit_code == 0
    whole = contents()
    np.save("v.npy", np.zeros(shape))
    refused(gradviz(*command), "files.v.npy was")
    assert contents() == whole
    np.save("v.npy", np.ones(shape))
    assert gradviz(*command).exit_code == 0


def test_another_model_of_the_same_name_is_another_run(
    gradviz: Gradviz, command: list[str]
) -> None:
    assert gradviz(*command).exit_code == 0
    whole = contents()
    power(2)
    refused(gradviz(*command), "model.sha256 was")
    assert contents() == whole


def test_another_version_is_another_run(
    gradviz: Gradviz, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gradviz(*command).exit_code == 0
    monkeypatch.setattr("gradviz.runs.record.VERSION", "99.0")
    refused(gradviz(*command), "versions.gradviz was")


def test_another_architecture_file_is_another_run(gradviz: Gradviz, command: list[str]) -> None:
    code = "from torch import nn\ndef net():\n    return nn.Conv2d(3, 1, 1)  # {}\n"
    torch.save(nn.Conv2d(3, 1, 1).state_dict(), "weights.pt")
    command[1:2] = ["weights.pt", "--arch", "net.py:net"]
    Path("net.py").write_text(code.format("one"))
    assert gradviz(*command).exit_code == 0
    Path("net.py").write_text(code.format("two"))
    refused(gradviz(*command), "net.py was")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.jsonl", b"broken\nbroken\n"),
        ("results.jsonl", b"\xff\xfe\x00\n[]\n{}\n"),
        ("run.json", b""),
        ("run.json", b"[1, 2]"),
        pytest.param(
            "run.json",
            b'{"kind": "saliency", "images": "none"}',
        ),
    ],
)
def test_a_damaged_run_is_refused_or_replaced(
    name: str, content: bytes, gradviz: Gradviz, command: list[str]
) -> None:
    assert gradviz(*command).exit_code == 0
    whole, record = contents(), lines()
    (OUT / name).write_bytes(content)
    refused(gradviz(*command[:-1]), "")
    refused(gradviz(*command), name)
    result = gradviz(*command[:-1], "--overwrite")
    assert result.exit_code == 0, result.stderr
    assert contents() == whole and lines() == record


# A reader sees whole files only -------------------------------------------------------------------


def readable(place: Path, file: Path) -> None:
    """Do nothing if `file` holds all that is to be read at `place`."""
    if place.suffix == ".npy":
        np.load(file)
    elif place.suffix == ".png":
        Image.open(file).load()
    elif place.suffix == ".json":
        json.loads(file.read_text())


def folder_of(descriptor: int) -> Path:
    """The folder that a descriptor belongs to."""
    here = os.fstat(descriptor)
    folders = (path for path in (OUT, *OUT.rglob("*")) if path.is_dir())
    return next(path for path in folders if os.path.samestat(path.stat(), here))


def test_files_come_into_the_folder_whole(
    gradviz: Gradviz, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[Path] = []
    move = os.replace

    def watched(source: Path, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        assert src_dir_fd == dst_dir_fd  # so that the move is one step on any disk
        folder = folder_of(src_dir_fd)
        assert not (folder / target).exists()
        readable(folder / target, folder / source)
        moved.append(folder / target)
        move(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "replace", watched)
    assert gradviz(*command[:-1]).exit_code == 0
    written = {path for path in OUT.rglob("*") if path.is_file()}
    assert written == {*moved, OUT / "results.jsonl"}  # which is appended to, line by line


def test_while_a_file_is_written_its_old_content_is_read(tmp_path: Path) -> None:
    store = RunWriter(tmp_path / "out")
    place = store.out / "deep" / "file"
    seen: list[bytes | None] = []

    def look() -> None:
        seen.append(place.read_bytes() if place.exists() else None)

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        look()
        file.write(b" and half")

    for _ in range(2):
        store.save("deep/file", write)
        look()
    assert seen == [None, b"half and half", b"half and half", b"half and half"]


def test_results_that_are_written_anew_are_never_half_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunWriter(tmp_path)
    old, *new = (
        parse_line(documents.done(name, "ones", {})) for name in ("a.png", "a.png", "b.png")
    )
    store.append(old)
    seen = []
    move = os.replace

    def watched(source: Path, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        seen.append(store.lines())
        move(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "replace", watched)
    store.replace(new)
    assert seen == [[old]] and store.lines() == new
