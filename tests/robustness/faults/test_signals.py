"""A signal at any moment before the work begins ends the process with one line.

A process takes some tenths of a second, or two seconds where it comes to import torch.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.formats import script
from tests.helpers.processes import Started, gradviz, photos
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.process

AT_IMPORT = """
import os, sys
class Sender:
    def find_spec(self, name, *rest):
        if name == {name!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Sender())
"""
"""The signal comes when the process begins to import a module."""

AT_END = """
import atexit, os, sys
atexit.register(lambda: os.kill(os.getpid(), {number}))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "name", ["gradviz.cli.app", "typer", "gradviz.cli.saliency", "gradviz.cli.options", "torch"]
)
def test_while_modules_are_imported(name: str, number: signal.Signals, tmp_path: Path) -> None:
    for file in ("model.ts", "photo.png"):
        (tmp_path / file).write_bytes(b"")
    before = AT_IMPORT.format(name=name, number=int(number))
    done = gradviz("saliency", "model.ts", "photo.png", before=before, cwd=tmp_path)
    assert done.returncode == 130, done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: interrupted") and done.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"model.ts", "photo.png"}


def test_when_the_work_is_done(tmp_path: Path) -> None:
    done = gradviz("--version", before=AT_END.format(number=int(signal.SIGTERM)), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")
    assert done.stdout.startswith("gradviz ")


def test_a_signal_that_the_shell_ignores_stays_ignored(tmp_path: Path) -> None:
    ignored = f"import signal; signal.signal({int(signal.SIGINT)}, signal.SIG_IGN)"
    before = ignored + AT_IMPORT.format(name="gradviz.cli.app", number=int(signal.SIGINT))
    done = gradviz("--version", before=before, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


class Endless(nn.Module):
    """A loop in which no instruction is Python's."""

    def forward(self, x: Tensor) -> Tensor:
        n = 0
        while n >= 0:
            n = n + 1
            n = n % 1000
        return x * n


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_loop_in_torchscript(number: signal.Signals, tmp_path: Path) -> None:
    scripted: Any = torch.jit.script(Endless())
    scripted.save(tmp_path / "model.ts")
    out = tmp_path / "out"
    folder = photos(tmp_path / "in", 1)
    model = tmp_path / "model.ts"
    options = ["--no-optimize", "--preprocess", "none"]
    run = Started(["saliency", model, folder, "-o", out, *options], tmp_path)
    wait_until((out / "run.json").exists, run.process.is_alive)
    time.sleep(0.5)
    run.send(number)
    assert run.wait(0.5) is None  # a first one asks for an end in good order
    run.send(number)
    ended = run.wait(10)
    assert ended is not None and ended.code == 130, ended
    assert ended.stderr == "error: interrupted\n"
    left = {path.name for path in out.rglob("*") if path.is_file()}
    assert left <= {"run.json", "environment.json", ".lock"}


def test_a_pipe_as_an_image_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    done = gradviz(
        "saliency", script("x * x / 2", tmp_path / "model.ts"), tmp_path / "pipe.png", timeout=60
    )
    assert done.returncode == 2 and "is no regular file" in done.stderr
