"""`--layout`: how a layer's output lies in memory, where the pass does not show it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradviz as package
from gradviz.errors import LayerError, UsageError
from gradviz.layout import parse_layout
from tests.helpers.commands import Gradviz, document, failed, line
from tests.helpers.formats import script

H, W = 8, 12


class Hidden(nn.Module):
    """Tokens or a map, behind an operation that hides which element lies where in the image."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout = layout
        self.patches, self.mix = nn.Conv2d(3, 6, 2, 2), nn.Linear(6, 6)
        self.across, self.head = nn.Conv2d(6, 6, 1), nn.Linear(6, 4)
        self.first = nn.Parameter(torch.randn(1, 2, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cumsum(self.patches(x), 1)  # along the channels, so that places stay
        if self.layout == "nchw":
            x = torch.mean(self.across(torch.cumsum(x, 1)), (2, 3))
        elif self.layout == "nhwc":
            x = torch.mean(self.mix(torch.permute(x, (0, 2, 3, 1))), (1, 2))
        else:
            x = torch.cat([self.first.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)
            if self.layout == "tokens":
                x = self.mix(x).square().mean(1)
            else:
                x = self.mix(x.transpose(0, 1)).square().mean(0)
        y: Tensor = self.head(x)
        return y


CASES = {
    "nchw": ("nchw", "across"),
    "nhwc": ("nhwc", "mix"),
    "tokens": ("tokens:2", "mix"),
    "tokens last": ("tokens:2", "mix"),
}
"""The networks, the text of `--layout`, and the layer."""


def by_hand(net: Hidden, images: Tensor, name: str) -> Tensor:
    """The gradient of class 1 at a layer, as maps [N, C, h, w]."""
    kept: list[Tensor] = []
    handle = net.get_submodule(name).register_forward_hook(lambda *call: kept.append(call[-1]))
    score = net(images.clone().requires_grad_())[:, 1].sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept)
    match net.layout:
        case "nchw":
            return gradient
        case "nhwc":
            return gradient.permute(0, 3, 1, 2)
        case "tokens last":
            gradient = gradient.transpose(0, 1)
    return gradient[:, 2:].transpose(1, 2).reshape(-1, 6, H // 2, W // 2)


@pytest.mark.parametrize("name", CASES)
def test_what_is_stated_is_read_in_every_command(
    name: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net, images = Hidden(name).eval(), torch.rand(2, 3, H, W)
    layout, layer = CASES[name]
    for n, image in enumerate(images):
        np.save(tmp_path / f"{n}.npy", image.numpy())
    files = [tmp_path / f"{n}.npy" for n in range(2)]
    hidden = name != "nchw"  # a convolution makes a map
    if hidden:
        with pytest.raises(LayerError, match=r"say it with --layout nchw, nhwc or tokens:P"):
            package.saliency(net, files, "class:1", layer=layer)
        with pytest.raises(UsageError, match=r"say it with --layout nchw, nhwc or tokens:P"):
            package.receptive_field(net, layer=layer, input_size=(W, H))
    found = package.saliency(net, files, "class:1", layer=layer, layout=layout)
    expected = by_hand(net, images, layer)
    for one, gradient in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.array, gradient.numpy(), rtol=1e-5, atol=1e-8)
    field = package.receptive_field(
        net, pixels=[(3, 1)], layer=layer, input_size=(W, H), layout=layout
    )
    assert field.fields[0].structural.box == (6, 2, 8, 4)

    script(net, tmp_path / "net.ts")
    say = ("--layout", layout)
    result = gradviz("inspect", "net.ts", "--input-size", f"{W}x{H}", "--json", *say)
    assert result.exit_code == 0, result.stderr
    strides = {each["name"]: each["stride"] for each in document(result)["layers"]}
    assert strides[layer] == [2, 2]
    cam = ("saliency", "net.ts", *files, "--seed", "class:1", "--layer", layer)
    result = gradviz(*cam, "--method", "gradcam", *say)
    assert result.exit_code == 0, result.stderr
    maps = np.load(Path("gradviz-out/0.npy/class-1/attribution.npy"))
    assert maps.shape == (1, H // 2, W // 2)
    result = gradviz("receptive-field", "net.ts", "--layer", layer, "--input-size", f"{W}x{H}",
                     "--pixel", "3,1", "-o", "field", "--json", *say)  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert document(result)["fields"][0]["box"] == [6, 2, 7, 3]  # inclusive


def test_grad_cam_takes_what_is_stated(gradviz: Gradviz, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, image = Hidden("tokens").eval(), torch.rand(3, H, W)
    (plain,) = package.saliency(net, image, "class:1", method="gradcam")
    assert plain.layer == "patches"
    (found,) = package.saliency(net, image, "class:1", method="gradcam", layout="tokens:2")
    assert found.layer == "pow_0"  # the squares
    np.save(tmp_path / "a.npy", image.numpy())
    script(net, tmp_path / "net.ts")
    result = gradviz("saliency", "net.ts", "a.npy", "--method", "gradcam", "--layout", "tokens:2")
    assert result.exit_code == 0 and line()["layer"] == "pow_0"
    assert '"layout": "tokens:2"' in Path("gradviz-out/run.json").read_text("utf-8")


@pytest.mark.parametrize(
    "layout, message",
    [
        ("chw", "give nchw, nhwc or tokens:P, where P counts the tokens before those of the image"),
        ("tokens", "such as tokens:1"),
        ("tokens:-1", "give nchw"),
        (
            "tokens:1",
            "26 tokens but for 1 make no grid of squares",
        ),
        ("nhwc", r"\[1, 26, 6\] is no such output of one image"),
        ("nchw", r"\[1, 26, 6\] is no such output of one image"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(layout: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        package.saliency(Hidden("tokens").eval(), torch.rand(3, H, W), layer="mix", layout=layout)


def test_a_layout_of_two_readings_is_refused(gradviz: Gradviz, tmp_path: Path) -> None:
    net = Hidden("tokens").eval()
    for n in range(4):
        np.save(tmp_path / f"{n}.npy", np.random.default_rng(n).random((3, 2, 4), np.float32))
    script(net, tmp_path / "net.ts")
    ask = ("saliency", "net.ts", tmp_path / "*.npy", "--layer", "mix", "--layout", "tokens:2")
    failed(gradviz(*ask), 2, "[4, 4, 6] fits two readings, [N, L, C] and [L, N, C]", "--batch-size")
    result = gradviz(*ask, "--batch-size", "2", "-o", "two")
    assert result.exit_code == 0, result.stderr


def test_what_the_pass_shows_cannot_be_stated_otherwise() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 2, 2), nn.ReLU())
    image = torch.rand(3, 12, 12)
    one, other = (
        package.saliency(net, image, "ones", layer="0", layout=layout)[0].array
        for layout in ("nchw", None)
    )
    assert np.array_equal(one, other)
    with pytest.raises(UsageError, match=r"the pass shows that the output .* of 0 lies otherwise"):
        package.saliency(net, image, "ones", layer="0", layout="nhwc")


def test_a_grid_of_tokens_has_one_reading_or_none() -> None:
    """Every grid of squares on an image is found by the number of its tokens alone."""
    for height, width in ((64, 64), (48, 64), (64, 40), (30, 100), (7, 5)):
        for side in range(1, min(height, width) + 1):
            grid = height // side, width // side
            found = parse_layout("tokens:3").grid(3 + grid[0] * grid[1], height, width)
            assert found == grid, (height, width, side)
