"""Many models by `--each`, next to a loop of commands: four steps for each of 21 cards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from benchmarks.measurement import Measurement
from benchmarks.timing import fresh, in_turns, times

ROUNDS = 1
CARDS = 21
STEPS: Mapping[str, tuple[str, ...]] = {
    "inspect": ("--input-size", "32"),
    "receptive-field": ("--input-size", "32x32", "--samples", "2"),
    "saliency": ("photo.png", "--view", "none", "--seed", "ones"),
    "check": ("photo.png", "--seed", "ones"),
}
NET = """
from torch import nn

def net(width):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, 1, 3, padding=1),
    )
"""


def measurements() -> Iterator[Measurement]:
    """The time of four commands with `--each`, as a multiple of that of a command for each card."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        _grow(folder)
        works = {"each": partial(_each, folder), "loop": partial(_loop, folder)}
        taken = in_turns(works, ROUNDS)
    what = f"{CARDS} cards, {len(STEPS)} commands each, cold, by `--each`"
    yield Measurement(
        what, "a loop of commands", times(taken["each"], taken["loop"]), "×", most=0.3
    )
    yield Measurement(what, "", taken["each"], "s")


def _grow(folder: Path) -> None:
    """Write the cards, their weights, and a photo."""
    (folder / "models").mkdir()
    (folder / "models/net.py").write_text(NET)
    made: dict[str, object] = {}
    exec(NET, made)
    for n in range(CARDS):
        torch.manual_seed(n)
        net = made["net"](4 + n)  # type: ignore[operator]
        torch.save(net.state_dict(), folder / f"models/{n:02}.pt")
        card = f"model: {n:02}.pt\narch: net.py:net\narch_args: {{width: {4 + n}}}\n"
        (folder / f"models/{n:02}.yaml").write_text(f"{card}preprocess: {{resize: 32}}\n")
    Image.effect_noise((32, 32), 90).convert("RGB").save(folder / "photo.png")


def _each(folder: Path) -> None:
    for command, words in STEPS.items():
        _run(folder, command, ["--each", f"{folder}/models/*.yaml"], words)


def _loop(folder: Path) -> None:
    for command, words in STEPS.items():
        for card in sorted(folder.glob("models/*.yaml")):
            _run(folder, command, [str(card)], words)


def _run(folder: Path, command: str, model: list[str], words: tuple[str, ...]) -> None:
    given = [str(folder / word) if word.endswith(".png") else word for word in words]
    out = ["-o", str(folder / "out" / command)]
    again = ["--overwrite"] if command in ("saliency", "receptive-field") else []
    fresh("-m", "gradviz", command, *model, *given, *out, *again, "-q")
