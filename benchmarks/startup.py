"""How long the shell waits for `gradviz --help`, next to a bare Python and to importing torch."""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter

ROUNDS = 15
LIMIT_S = 0.3
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "gradviz --help": ["-m", "gradviz", "--help"],
    "gradviz saliency --help": ["-m", "gradviz", "saliency", "--help"],
    "python -c 'import torch'": ["-c", "import torch"],
}


def seconds(arguments: list[str]) -> float:
    """The wall time of one fresh Python process."""
    started = perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return perf_counter() - started


def main() -> None:
    """Print the median over `ROUNDS` of each command, taken in turns."""
    rounds = [
        {name: seconds(arguments) for name, arguments in COMMANDS.items()} for _ in range(ROUNDS)
    ]
    for name in COMMANDS:
        print(f"{name:28} {median(each[name] for each in rounds):6.3f} s")
    print(f"limit for gradviz --help     {LIMIT_S:6.3f} s")
