"""A signal at any moment before the work begins ends the process with one line.

A process takes some tenths of a second, or two seconds where it comes to import torch.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.helpers.processes import gradviz

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
