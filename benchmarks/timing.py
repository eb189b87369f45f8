"""How long work takes, side by side, and what whole commands take of time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

Rounds = Mapping[str, tuple[float, ...]]
"""The seconds of each work, round by round."""


def in_turns(works: Mapping[str, Callable[[], object]], rounds: int, warm: int = 1) -> Rounds:
    """Do every work once a round, so that what slows the machine for a while slows them all.

    Args:
        warm: rounds before, which are not measured.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm + rounds):
        for name, work in works.items():
            started = perf_counter()
            work()
            seconds = perf_counter() - started
            if turn >= warm:
                taken[name].append(seconds)
    return {name: tuple(seconds) for name, seconds in taken.items()}


def times(slow: tuple[float, ...], quick: tuple[float, ...]) -> tuple[float, ...]:
    """How many times as long `slow` takes, round by round."""
    return tuple(a / b for a, b in zip(slow, quick, strict=True))


@dataclass(frozen=True)
class Cost:
    """What a whole process took."""

    seconds: float
    """Of wall time."""
    gib: float
    """Its largest resident memory in GiB, where the system counts in KiB as Linux does."""
    cpu: float
    """Seconds of processors, which other programs on the machine change less than wall time."""


# A process inherits its parent's peak memory as its own, so it is started by a small one.
_LAUNCHER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([seconds, used.ru_maxrss / 2**20, used.ru_utime + used.ru_stime]))
"""


def fresh(*arguments: object) -> Cost:
    """The cost of Python in a fresh process, which keeps compiled modules as an installed one does.

    Raises:
        CalledProcessError: it fails.
    """
    command = [sys.executable, "-c", _LAUNCHER, *map(str, arguments)]
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=kept).stdout
    return Cost(*json.loads(told))
