"""Arrangements: which element of a layer's output lies where in the image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz as package
from gradviz.backward.layer_outputs import ActivationRecorder
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
    return torch.bmm(flat, attention.transpose(1, 2)).view(x.shape)


with torch.random.fork_rng():  # the same weights in every process
    torch.manual_seed(0)
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


def moved(net: nn.Module, x: Tensor, pixels: tuple[slice, slice]) -> dict[str, tuple[int, int]]:
    """Find the place of each layer's maps that changes most if some pixels of the image do.

    Nothing is followed here: the place is where a perturbation comes out.
    """
    y = x.detach().clone()
    y[..., pixels[0], pixels[1]] += 100
    runs = [
        run_with_layers(net, net, each, ActivationRecorder(net))[1]
        for each in (x, y.requires_grad_())
    ]
    found = {}
    for name, layer in runs[0].items():
        before, after = (run[name].activation for run in runs)
        if layer.spatial and before is not None and after is not None:
            change = (layer.as_maps(after) - layer.as_maps(before)).square().sum((0, 1))
            found[name] = divmod(int(change.argmax()), change.shape[1])
    return found


def test_each_element_lies_where_a_change_of_its_patch_comes_out() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 16, 24, requires_grad=True)
    _, everywhere = run_with_layers(NET, NET, x)
    assert all(everywhere[name].spatial for name in "0123456789")
    # Attention between all places would carry the change to all of them.
    net = nn.Sequential(*(each for n, each in enumerate(NET) if n != 1))
    _, layers = run_with_layers(net, net, x)
    grids = {
        name: layer.arrangement.grid[1:] for name, layer in layers.items() if layer.arrangement
    }
    assert grids["0"] == grids["1"] == grids["2"] == (8, 12)
    assert grids["3"] == grids["4"] == (4, 6) and grids["7"] == grids["8"] == (8, 12)
    assert layers["6.linear"].shape == (1, 24, 4) and grids["6.linear"] == (4, 6)
    assert layers["2.attention.packed"].shape == (24, 4, 12)
    assert grids["2.attention.packed"] == (8, 12)
    assert [layers[name].channels for name in ("0", "2", "6.linear", "8")] == [4, 4, 4, 1]
    for top, left in ((0, 0), (4, 20), (12, 8)):
        places = moved(net, x, (slice(top, top + 4), slice(left, left + 4)))
        assert set(places) == set(grids)
        for name, (row, column) in places.items():
            if name.endswith((".attention", ".merge")):
                continue  # within its window, a change may come out larger beside its patch
            step = 16 // grids[name][0]
            assert (row * step // 4, column * step // 4) == (top // 4, left // 4), name


class Tokens(nn.Module):
    """A map as tokens, with others before and behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = (nn.Parameter(torch.randn(1, n, 5)) for n in (2, 3))

    def forward(self, x: Tensor) -> Tensor:
        row = x.flatten(2).transpose(1, 2)
        ends = (each.expand(len(row), -1, -1) for each in (self.first, self.last))
        first, last = ends
        return torch.cat([first, row, last], 1)


def test_tokens_without_a_place_are_left_out() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 4, 4), Tokens(), nn.LayerNorm(5), nn.Linear(5, 7), Net(lambda x: x[:, 0])
    ).requires_grad_(False)
    x = torch.rand(2, 3, 12, 20, requires_grad=True)
    _, layers = run_with_layers(net, net, x, ActivationRecorder(net))
    layer = layers["3"]
    assert (
        layer.shape == (2, 20, 7) and layer.arrangement is not None and layer.activation is not None
    )
    maps = layer.as_maps(layer.activation)
    assert maps.shape == (2, 7, 3, 5)
    assert torch.equal(maps, layer.activation[:, 2:17].transpose(1, 2).reshape(2, 7, 3, 5))
    back = layer.arrangement.from_maps(maps)
    assert torch.equal(back[:, 2:17], layer.activation[:, 2:17])
    assert not back[:, :2].any() and not back[:, 17:].any()
    assert not layers["4"].spatial  # the first of the tokens stands for no place


def test_an_image_that_is_written_into_a_part_is_followed() -> None:
    """As in the padded batch of a detector."""
    torch.manual_seed(0)
    x = torch.rand(1, 3, 8, 12, requires_grad=True)

    def padded(x: Tensor) -> Tensor:
        batch = x.new_zeros(1, 3, 16, 16)
        batch[0, :, :8, :12].copy_(x[0])
        return batch

    def crossed(x: Tensor) -> Tensor:
        whole = torch.zeros(1, 3, 8, 12)
        whole[..., :6], whole[..., 6:] = x[..., 6:], x[..., :6]
        return whole

    net = nn.Sequential(Net(padded), nn.Conv2d(3, 2, 4, 4))
    _, layers = run_with_layers(net, net, x)
    assert layers["1"].arrangement is not None and layers["1"].arrangement.grid[1:] == (4, 4)
    for top, left in ((0, 0), (4, 8), (4, 4)):
        places = moved(net, x, (slice(top, top + 4), slice(left, left + 4)))
        assert places["1"] == (top // 4, left // 4)
    net = nn.Sequential(Net(crossed), nn.Conv2d(3, 2, 4, 4))
    _, layers = run_with_layers(net, net, x)
    assert not layers["1"].spatial  # two halves of the image, each in the place of the other


def test_what_cannot_be_followed_is_not_known() -> None:
    def scrambles(x: Tensor) -> Tensor:
        return x.flatten()[: 4 * 4 * 4].view(1, 4, 4, 4)

    net = nn.Sequential(nn.Conv2d(3, 4, 1), Net(scrambles), nn.Conv2d(4, 1, 1))
    image = torch.rand(3, 6, 6)
    _, layers = run_with_layers(net, net, image[None].requires_grad_())
    assert layers["0"].spatial and not layers["1"].spatial and not layers["2"].spatial
    for method in ("gradcam", "gradient"):
        with pytest.raises(LayerError, match=r"does not show which .* as in 0$"):
            package.saliency(net, image, "ones", method=method, layer="1")
    with pytest.raises(UsageError, match=r"does not show which .* as in 0$"):
        package.receptive_field(net, layer="1", input_size=(6, 6))


@pytest.mark.parametrize("name", ["2", "3", "5", "7.linear"])
def test_layers_with_their_channels_last_are_read_as_maps(name: str) -> None:
    torch.manual_seed(0)
    image = torch.rand(3, 16, 24)
    (found,) = package.saliency(NET, image, "ones", layer=name)
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _given: object, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    handle = NET.get_submodule(name).register_forward_hook(keep)
    NET(image[None].requires_grad_()).sum().backward()
    handle.remove()
    expected = outputs[0].grad
    assert expected is not None
    flat = name == "7.linear"
    expected = expected[0].T.reshape(4, 4, 6) if flat else expected[0].permute(2, 0, 1)
    np.testing.assert_allclose(found.array, expected.numpy(), rtol=1e-5, atol=1e-7)


def test_a_layer_with_its_channels_last_has_the_field_of_its_map() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 4, 2), nn.Conv2d(4, 4, 3, padding=1))
    last = nn.Sequential(*plain, permute(0, 2, 3, 1), nn.LayerNorm(4), permute(0, 3, 1, 2))
    for pixel in ((0, 0), (5, 3)):
        one, other = (
            package.receptive_field(net, pixels=[pixel], layer=layer, input_size=(24, 16))
            for net, layer in ((plain, "1"), (last, "3"))
        )
        assert one.geometry == other.geometry
        assert np.array_equal(one.fields[0].structural.mask, other.fields[0].structural.mask)


def test_inspect_prints_strides_of_maps_alone(gradviz: Gradviz, tmp_path: Path) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 4, 4), PermuteLast(), nn.LayerNorm(6), nn.Linear(6, 5), PermuteFirst()
    )
    script(net.eval(), tmp_path / "net.ts")
    found = gradviz("inspect", "net.ts", "--input-size", "32x16", "--json")
    assert found.exit_code == 0, found.stderr
    strides = {layer["name"]: layer["stride"] for layer in json.loads(found.stdout)["layers"]}
    assert strides == {"0": [4, 4], "2": [4, 4], "3": [4, 4]}
    fields = gradviz("receptive-field", "net.ts", "--layers", "--input-size", "32x16", "--json")
    assert fields.exit_code == 0, fields.stderr
    assert [layer["name"] for layer in json.loads(fields.stdout)["layers"]] == ["0", "2", "3"]


class PermuteLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class PermuteFirst(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x.permute(0, 3, 1, 2))
