"""Which layers are maps: the axis of the channels, by what computed them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz as package
from gradviz.backward.layers import run_with_layers
from gradviz.errors import LayerError, UsageError
from tests.helpers.commands import Gradviz
from tests.helpers.formats import script
from tests.helpers.nets import Net


class Window(nn.Module):
    """Attention in windows of 2×2 places, as Swin has it, on [N, H, W, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.packed = nn.Linear(channels, 3 * channels)
        self.merge = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        x = torch.roll(x, (-1, -1), (1, 2))
        x = x.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = self.packed(x).reshape(len(x), 4, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(len(x), 4, c)
        x = self.merge(mixed).view(n, h // 2, w // 2, 2, 2, c)
        return torch.roll(x.permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c), (1, 1), (1, 2))


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(channels), Window(channels)
        self.mix = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        mixed: Tensor = x + self.mix(x)
        return mixed


def permute(*axes: int) -> nn.Module:
    return Net(lambda x: x.permute(axes))


def merge(channels: int) -> nn.Module:
    """Halves a map with its channels last."""
    return Net(
        lambda x, reduce: reduce(torch.cat([x[:, ::2, ::2], x[:, 1::2, 1::2]], -1)),
        reduce=nn.Linear(2 * channels, channels, bias=False),
    )


def tokens(channels: int) -> nn.Module:
    """A map as tokens, mixed, and a map again, as in a transformer with a dense head."""

    def forward(x: Tensor, norm: nn.Module, linear: nn.Module) -> Tensor:
        mixed: Tensor = linear(norm(x.flatten(2).transpose(1, 2)))
        return mixed.transpose(1, 2).reshape(x.shape)

    return Net(forward, norm=nn.LayerNorm(channels), linear=nn.Linear(channels, channels))


def non_local(x: Tensor) -> Tensor:
    """Attention between the places of a map."""
    flat = x.flatten(2)
    attention = torch.bmm(flat.transpose(1, 2), flat).softmax(-1)
    return torch.bmm(flat, attention).view(x.shape)


NET = nn.Sequential(
    nn.Conv2d(3, 4, 2, stride=2),
    Net(non_local),
    permute(0, 2, 3, 1),
    Block(4),
    merge(4),
    Block(4),
    permute(0, -1, 1, -2),
    tokens(4),
    nn.PixelShuffle(2),
    nn.ReLU(),
)


def test_blocks_with_their_channels_last_are_known() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 16, 24, requires_grad=True)
    _, layers = run_with_layers(NET, lambda: NET(x))
    found = {name: layer.channel_axis for name, layer in layers.items() if name.isdigit()}
    assert found == {
        "0": 1, "1": 1, "2": 3, "3": 3, "4": 3, "5": 3, "6": 1, "7": 1, "8": 1, "9": 1,
    }  # fmt: skip
    assert all(layers[f"3.{name}"].channel_axis == 3 for name in ("norm", "attention", "mix"))
    assert layers["7.linear"].channel_axis == 2
    # A permutation that is none of the two usual ones is followed as well.
    assert layers["6"].shape == (1, 4, 4, 6)


def test_what_cannot_be_followed_is_not_known() -> None:
    def sorts(x: Tensor) -> Tensor:
        return x.flatten()[: 4 * 4 * 4].view(1, 4, 4, 4)

    net = nn.Sequential(nn.Conv2d(3, 4, 1), Net(sorts), nn.Conv2d(4, 1, 1))
    x = torch.rand(1, 3, 6, 6, requires_grad=True)
    _, layers = run_with_layers(net, lambda: net(x))
    assert layers["1"].channel_axis is None and not layers["1"].spatial
    assert layers["1"].unlike_a_map == "has axes whose order is not known"
    assert layers["2"].spatial


@pytest.mark.parametrize("name", ["2", "3", "5", "3.norm"])
def test_every_command_refuses_layers_that_are_no_maps(name: str) -> None:
    image = torch.rand(3, 16, 24)
    for method in ("gradcam", "gradient"):
        with pytest.raises(LayerError, match=r"channels last.*as in 9, 8, 7, 6, 1, 0$"):
            package.saliency(NET, image, "ones", method=method, layer=name)
    with pytest.raises(UsageError, match=r"channels last.*as in 9, 8, 7, 6, 1, 0$"):
        package.receptive_field(NET, layer=name, input_size=(24, 16))


def test_inspect_prints_strides_of_maps_alone(gradviz: Gradviz, tmp_path: Path) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 4, 4), PermuteLast(), nn.LayerNorm(6), nn.Linear(6, 5), PermuteFirst()
    )
    script(net.eval(), tmp_path / "net.ts")
    found = gradviz("inspect", "net.ts", "--input-size", "32x16", "--json")
    assert found.exit_code == 0, found.stderr
    strides = {layer["name"]: layer["stride"] for layer in json.loads(found.stdout)["layers"]}
    assert strides == {"0": [4, 4], "2": None, "3": None}
    fields = gradviz("receptive-field", "net.ts", "--layers", "--input-size", "32x16", "--json")
    assert fields.exit_code == 0, fields.stderr
    assert [layer["name"] for layer in json.loads(fields.stdout)["layers"]] == ["0"]


class PermuteLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class PermuteFirst(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x.permute(0, 3, 1, 2))
