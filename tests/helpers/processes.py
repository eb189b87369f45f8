"""`gradviz` in processes of their own: fresh ones, and cheap ones that can be disturbed often."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers.waiting import wait_until

_context = multiprocessing.get_context("forkserver")
# It imports torch once, and each process is a copy of it: a run costs tenths of a second.
_context.set_forkserver_preload(
    ["tests.helpers.processes", "gradviz.cli.app", "gradviz.commands.saliency.run"]
)


INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""As at a terminal: a shell's background job begins with SIGINT ignored."""


def photos(folder: Path, count: int, size: tuple[int, int] = (6, 5)) -> Path:
    """A folder with so many pictures of noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for n in range(count):
        pixels = random.integers(1, 256, (*reversed(size), 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{n:04}.png")
    return folder


def gradviz(
    *words: str | Path, before: str = "", **details: Any
) -> subprocess.CompletedProcess[str]:
    """Run `gradviz WORDS...` as a shell would; it takes about two seconds.

    Args:
        before: Python code that runs in the process first.
        details: what `subprocess.run` takes.
    """
    code = f"{INTERRUPTIBLE}\n{before}\nfrom gradviz.__main__ import main\nmain()"
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(
        command, text=True, errors="surrogateescape", **{"capture_output": True, **details}
    )


@dataclass(frozen=True)
class Ended:
    """What is left of a process."""

    code: int
    """Its exit code; −N where signal N killed it."""
    stderr: str


class Started:
    """`gradviz WORDS...` as a copy of a process that has imported everything."""

    def __init__(self, words: Sequence[str | Path], folder: Path) -> None:
        self._stderr = folder / "stderr.txt"
        self.process: ForkServerProcess = _context.Process(
            target=_run, args=([*map(str, words)], str(Path.cwd()), str(self._stderr))
        )
        self._stderr.unlink(missing_ok=True)
        self.process.start()
        wait_until(self._stderr.exists, self.process.is_alive, every=0.001)

    def send(self, number: int) -> None:
        """Send a signal, if the process is still there."""
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def wait(self, seconds: float | None = None) -> Ended | None:
        """What is left of it when it has ended; None if it has not within the time."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            return None
        return Ended(self.process.exitcode, self._stderr.read_text(errors="replace"))


def _run(words: list[str], folder: str, stderr: str) -> None:
    from gradviz.__main__ import main
    from gradviz.cli.process import prepare_process

    prepare_process()  # before it may be disturbed
    os.chdir(folder)
    for number, path in ((1, os.devnull), (2, stderr + ".new")):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    Path(stderr + ".new").rename(stderr)
    sys.argv = ["gradviz", *words]
    main()
