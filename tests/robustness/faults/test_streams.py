"""Standard streams that are closed, full, or that nobody reads any more.

A process takes about two seconds, or some tenths where it only shows its help.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.formats import script
from tests.helpers.processes import gradviz, photos

pytestmark = pytest.mark.process

CLOSE = "import os; [os.close(n) for n in {closed}]; import sys; {lost}"
STREAMS = ("stdin", "stdout", "stderr")


@pytest.fixture
def work(tmp_path: Path) -> list[str | Path]:
    folder = photos(tmp_path / "photos", 2)
    return ["saliency", script("x * x / 2", tmp_path / "model.ts"), folder, "-o", tmp_path / "out"]


def closed(*numbers: int) -> str:
    """Code that does what a shell does with `<&- >&- 2>&-`."""
    lost = "; ".join(f"sys.{STREAMS[number]} = None" for number in numbers)
    return CLOSE.format(closed=[*numbers], lost=lost)


@pytest.mark.parametrize("numbers", [(1,), (2,), (0, 1, 2)])
def test_streams_that_are_closed(
    numbers: tuple[int, ...], tmp_path: Path, work: list[str | Path]
) -> None:
    done = gradviz(*work, before=closed(*numbers))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert ("2 done" in done.stderr) == (2 not in numbers)
    # Nothing was printed into a file that took the place of a stream.
    results = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in results] == ["ok", "ok"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_away(stream: str, tmp_path: Path, work: list[str | Path]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    (tmp_path / "photos" / "0000.png").write_bytes(b"no picture")  # so that something is said early
    streams: dict[str, Any] = {"stdout": -1, "stderr": -1, stream: writer}
    done = gradviz(*work, capture_output=False, **streams)
    os.close(writer)
    assert done.returncode == 4
    assert "Traceback" not in (done.stderr or "")
    results = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert len(results) == 2


@pytest.mark.parametrize("words", [["--help"], ["saliency", "--help"], ["--version"]])
def test_help_that_nobody_reads(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = gradviz(*words, capture_output=False, stdout=writer, stderr=-1)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["--help"], ["--version"], None])
def test_a_stdout_on_a_full_disk(words: list[str] | None, work: list[str | Path]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = gradviz(
            *(words or work),
            *([] if words else ["-q", "--json"]),
            capture_output=False,
            stdout=full,
            stderr=-1,
        )
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said == "error: stdout: No space left on device; send it elsewhere"


def test_messages_on_a_full_disk_stop_no_work(tmp_path: Path, work: list[str | Path]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = gradviz(*work, capture_output=False, stdout=-1, stderr=full)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2


CLOSES = """
import os, torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
    def forward(self, x):
        os.closerange({first}, 4096)
        return x * self.weight
"""


@pytest.mark.parametrize("first", [0, 3])
def test_a_model_that_closes_every_file(first: int, tmp_path: Path) -> None:
    """Ours are open too; what is written next would go into the file that took the number."""
    (tmp_path / "net.py").write_text(CLOSES.format(first=first))
    torch.save({"weight": torch.ones(1)}, tmp_path / "w.pt")
    folder = photos(tmp_path / "photos", 2)
    work: list[str | Path] = [
        "saliency",
        tmp_path / "w.pt",
        folder,
        "--arch",
        f"{tmp_path / 'net.py'}:Net",
    ]
    done = gradviz(*work, "-o", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    if first:  # stderr itself is left
        assert "0000.png: foreign code closed files that gradviz has open" in done.stderr
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["error", "error"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert {*names} - {".lock"} == {"results.jsonl", "run.json", "environment.json"}
