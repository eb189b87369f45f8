"""How many channels random input has: those of the first weight that the image meets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz as package
from gradviz.model.first_weight import channels_taken
from tests.helpers.commands import Gradviz


class Steps(nn.Module):
    """A step without weights, and a layer after it."""

    def __init__(self, step: Callable[[Tensor], Tensor], layer: nn.Module) -> None:
        super().__init__()
        self.step, self.layer = step, layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(self.step(x))
        return y


def with_places(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(len(x), 2, *x.shape[2:])], 1)


def patches(x: Tensor) -> Tensor:
    return F.unfold(x, 16, stride=16).transpose(1, 2)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("name", ["plain", "grouped", "transposed", "mean", "unshuffled", "places",
                                  "patches", "last"])  # fmt: skip
def test_the_first_weight_tells(name: str, channels: int) -> None:
    mean = torch.rand(channels, 1, 1)
    net = {
        "plain": nn.Sequential(nn.Conv2d(channels, 5, 3), nn.Conv2d(5, 2, 3)),
        "grouped": nn.Conv2d(channels, 2 * channels, 3, groups=channels),
        "transposed": nn.ConvTranspose2d(channels, 5, 3),
        "mean": Steps(lambda x: (x - mean) / 2, nn.Conv2d(channels, 5, 3)),
        "unshuffled": Steps(nn.PixelUnshuffle(4), nn.Conv2d(16 * channels, 5, 3)),
        "places": Steps(with_places, nn.Conv2d(channels + 2, 5, 3)),
        "patches": Steps(patches, nn.Linear(256 * channels, 8)),
        "last": Steps(lambda x: x.permute(0, 2, 3, 1), nn.Linear(channels, 8)),
    }[name]
    assert channels_taken(package.wrap(net)) == channels


@pytest.mark.parametrize(
    "net",
    [
        nn.AvgPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 4)),
        nn.Linear(64, 4),
    ],
    ids=["none", "flat", "flat-gray", "width"],
)
def test_where_nothing_tells_there_are_three(net: nn.Module) -> None:
    assert channels_taken(package.wrap(net)) == 3


def test_scripts_tell_it_too(tmp_path: Path) -> None:
    net: Any = nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU()).eval()
    jit: Any = torch.jit
    scripts = jit.script(net), jit.trace(net, torch.rand(1, 4, 8, 8)), jit.freeze(jit.script(net))
    for n, script in enumerate(scripts):
        script.save(tmp_path / f"{n}.ts")
        assert channels_taken(package.load_model(tmp_path / f"{n}.ts")) == 4


def test_commands_without_an_image_run_a_model_of_four_channels(
    gradviz: Gradviz, tmp_path: Path
) -> None:
    net = nn.Sequential(nn.Conv2d(4, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1))
    jit: Any = torch.jit
    jit.script(net.eval()).save(tmp_path / "four.ts")
    inspected = gradviz("inspect", "four.ts")
    assert inspected.exit_code == 0, inspected.stderr
    assert "[1, 4, 224, 224]" in inspected.stdout
    found = gradviz("receptive-field", "four.ts", "--expect", "size==5")
    assert found.exit_code == 0, found.stderr


ALONE = """
import sys
from torch import nn
import gradviz
from gradviz.model.first_weight import channels_taken
assert channels_taken(gradviz.wrap(nn.Conv2d(5, 8, 3))) == 5
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.process
def test_torchs_compiler_is_not_imported() -> None:
    """Its import takes longer than the rest of a first answer."""
    ran = subprocess.run([sys.executable, "-c", ALONE], check=True, capture_output=True, text=True)
    assert ran.stdout == "False\n"
