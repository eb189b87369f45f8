"""How long the shell waits for `gradviz --help`, next to a bare Python and to importing torch."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.measurement import Measurement
from benchmarks.timing import fresh, in_turns

ROUNDS = 9
LIMIT_S = 0.3
COMMANDS = {
    "gradviz --help": ("-m", "gradviz", "--help"),
    "gradviz saliency --help": ("-m", "gradviz", "saliency", "--help"),
    "python -c pass": ("-c", "pass"),
    "python -c 'import torch'": ("-c", "import torch"),
}
"""What is started; only the first has a limit."""


def measurements() -> Iterator[Measurement]:
    """The seconds of each command."""
    taken = in_turns({name: partial(fresh, *each) for name, each in COMMANDS.items()}, ROUNDS)
    for name, seconds in taken.items():
        yield Measurement(
            name, "", seconds, "s", most=LIMIT_S if name == "gradviz --help" else None
        )
