"""What layers put out, in every format, and which of them Grad-CAM can take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz as package
from gradviz.backward.layer_outputs import ActivationRecorder
from gradviz.backward.layers import run_with_layers
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.run import outcomes
from gradviz.commands.saliency.settings import Settings
from gradviz.errors import LayerError, UsageError
from gradviz.image.find import find_images
from gradviz.image.preprocess import Preprocess
from gradviz.model.model import Model
from gradviz.runs.results import Failure
from gradviz.seeds.seed import parse_seed
from tests.helpers.formats import models, script
from tests.helpers.nets import Net

FILES = ("scripted.ts", "traced.ts", "frozen.ts", "program.pt2")


def every_format(net: nn.Module, shape: tuple[int, ...], folder: Path) -> dict[str, Model]:
    """The network in every format; frozen, its layers have other names."""
    net = net.eval().requires_grad_(False)
    return models(net, torch.rand(shape), folder, *FILES)


class Positions(nn.Module):
    """A convolution of constants runs between the one of the image and the next of its users."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.places = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.head = nn.Linear(4, 2)
        self.register_buffer("grid", torch.rand(1, 2, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        y: Tensor = self.head(F.relu(first + self.places(self.grid)).mean((2, 3)))
        return y


def test_an_operation_on_constants_is_not_taken_for_the_one_before_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, image = Positions(), torch.rand(3, 8, 8)
    expected = net.first(image[None])[0].detach()
    for name, model in every_format(net, (1, 3, 8, 8), tmp_path).items():
        layer = "conv_0" if name == "frozen.ts" else "first"
        (found,) = package.saliency(model, image, "class:0", layer=layer)
        np.testing.assert_allclose(found.beside["activation"], expected, rtol=1e-5, atol=1e-6)


class Tokens(nn.Module):
    """Linear layers on tokens, with a bias and without."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.mix = nn.Conv2d(3, 4, 4, 4), nn.Linear(4, 6)
        self.back, self.head = nn.Linear(6, 4, bias=False), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        y: Tensor = self.head(self.back(F.gelu(self.mix(tokens))).mean(1))
        return y


def test_linear_layers_on_tokens_are_read_as_maps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, images = Tokens(), torch.rand(2, 3, 8, 12)
    kept: dict[str, Tensor] = {}
    for name in ("mix", "back"):
        net.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: kept.setdefault(name, output)
        )
    score = net(images.clone().requires_grad_())[:, 0].sum()
    gradients = dict(zip(kept, torch.autograd.grad(score, list(kept.values())), strict=True))
    for name in kept:
        net.get_submodule(name)._forward_hooks.clear()
    for n, image in enumerate(images):
        np.save(tmp_path / f"{n}.npy", image.numpy())
    files = [tmp_path / f"{n}.npy" for n in range(2)]
    for format, model in every_format(net, (2, 3, 8, 12), tmp_path).items():
        names = {"mix": "linear_0", "back": "linear_1"} if format == "frozen.ts" else {}
        for name in kept:
            found = package.saliency(model, files, "class:0", layer=names.get(name, name))
            for n in range(2):
                gradient, activation = (
                    tokens[n].detach().T.reshape(-1, 2, 3)
                    for tokens in (gradients[name], kept[name])
                )
                np.testing.assert_allclose(found[n].array, gradient, rtol=1e-4, atol=1e-7)
                if name == "back" or format == "eager":  # a bias may be added apart
                    np.testing.assert_allclose(
                        found[n].beside["activation"], activation, rtol=1e-4, atol=1e-6
                    )


class Attends(nn.Module):
    """Attention returns a tuple, and runs its projection without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 4, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        y: Tensor = self.head((tokens + mixed).mean(1))
        return y


def test_the_first_of_several_outputs_and_what_runs_without_a_call() -> None:
    torch.manual_seed(0)
    net, image = Attends().eval(), torch.rand(3, 8, 12)
    tokens = net.patch(image[None]).flatten(2).transpose(1, 2)
    (found,) = package.saliency(net, image, "class:0", layer="attention")
    np.testing.assert_allclose(
        found.beside["activation"].reshape(4, 6).T,
        net.attention(tokens, tokens, tokens)[0][0].detach(),
        rtol=1e-4,
    )
    x = image[None].requires_grad_()
    _, layers = run_with_layers(net.requires_grad_(False), net, x)
    assert list(layers) == ["patch", "attention.out_proj", "attention", "head"]


def test_tokens_that_come_before_the_images_are_known(tmp_path: Path) -> None:
    """In attention the packed projection is [T, N, 3E], with as many images as tokens."""
    torch.manual_seed(0)
    model = package.load_model(script(Attends(), tmp_path / "net.ts"))
    for n in range(6):
        np.save(tmp_path / f"{n}.npy", np.random.default_rng(n).random((3, 8, 12), np.float32))
    files = [tmp_path / f"{n}.npy" for n in range(6)]
    together = package.saliency(model, files, layer="attention", batch_size=6)
    alone = package.saliency(model, files, layer="attention", batch_size=1)
    for one, other in zip(together, alone, strict=True):
        assert one.array.shape == (12, 2, 3)
        np.testing.assert_allclose(one.array, other.array, rtol=1e-4, atol=1e-7)


class Mixed(nn.Module):
    """A layer of every kind that has a weight; and products of two things of the image's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.group = nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4)
        self.batch, self.slope = nn.BatchNorm2d(4), nn.PReLU(4)
        self.bare, self.layer = nn.Linear(4, 4, bias=False), nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)
        for norm in (self.group, self.batch, self.layer):  # equal constants are one constant
            nn.init.uniform_(norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        a = self.slope(self.batch(self.group(self.conv(x)))).mean((2, 3))
        a = self.layer(self.bare(a))
        weights = torch.bmm(a[:, :, None], a[:, None])
        a = torch.bmm(weights, a[:, :, None])[:, :, 0]
        y: Tensor = self.head(a)
        return y


def test_every_layer_with_a_weight_and_nothing_else(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = torch.rand(3, 4, 4)
    for format, model in every_format(Mixed(), (1, 3, 4, 4), tmp_path).items():
        _, layers = run_with_layers(model.module, model, image[None].requires_grad_())
        kinds = ["conv", "group", "batch", "slope", "bare", "layer", "head"]
        if format == "frozen.ts":
            words = ["conv_0", "norm_0", "norm_1", "prelu_0", "linear_0", "norm_2", "linear_1"]
            assert list(layers) == words
        else:
            assert list(layers) == kinds, format


def test_grad_cam_names_the_block_that_ends_in_the_layer_by_the_layer() -> None:
    block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    net = nn.Sequential(nn.Sequential(block), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    (found,) = package.saliency(net, torch.rand(3, 9, 9), "class:0", method="gradcam")
    assert found.layer == "0.0.2"


def test_the_output_may_be_moved_and_cut_out_behind_the_layer_that_makes_it() -> None:

    def moved(x: Tensor, body: nn.Module, head: nn.Module) -> Tensor:
        y = head(body(x)).permute(0, 1, 3, 2)[:, :, 1:3]
        found: Tensor = y.flatten(2).unflatten(2, (2, -1))
        return found

    net = Net(moved, body=nn.Conv2d(3, 4, 3), head=nn.Conv2d(4, 2, 1))
    (found,) = package.saliency(net, torch.rand(3, 8, 8), "channel:0", method="gradcam")
    assert found.layer == "body"
    assert found.layer_reason == "the last map that every path from the image to the output passes"


class ChannelsLast(nn.Module):
    """Shaped like ConvNeXt: the norm and the linear layers see [N, H, W, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 6, 2, 2), nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm, self.widen = nn.LayerNorm(6), nn.Linear(6, 8)
        self.act, self.narrow = nn.GELU(), nn.Linear(8, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        a = self.deep(x).permute(0, 2, 3, 1)
        a = self.narrow(self.act(self.widen(self.norm(a)))).permute(0, 3, 1, 2)
        y: Tensor = self.head((x + a).mean((2, 3)))
        return y


def test_a_map_with_its_channels_last_is_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, image = ChannelsLast(), torch.rand(3, 8, 12)
    for format, model in every_format(net, (1, 3, 8, 12), tmp_path).items():
        frozen = format == "frozen.ts"
        (found,) = package.saliency(model, image, "class:0", method="gradcam")
        assert found.layer == "add_0"
        last = {"norm": "norm_0", "widen": "linear_0", "narrow": "linear_1"}
        names = list(last.values()) if frozen else list(last)
        for layer in [*names, "act"] if format == "eager" else names:
            (found,) = package.saliency(model, image, "class:0", method="gradcam", layer=layer)
            assert found.array.shape == (1, 4, 6)


class Decodes(nn.Module):
    """What a linear layer puts out becomes a map."""

    def __init__(self) -> None:
        super().__init__()
        self.vector, self.head = nn.Linear(48, 24), nn.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.vector(x.flatten(1)).view(-1, 2, 3, 4))
        return y


def test_a_vector_that_becomes_a_map_stays_the_vector(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for format, model in every_format(Decodes(), (1, 3, 4, 4), tmp_path).items():
        layer = "linear_0" if format == "frozen.ts" else "vector"
        (found,) = package.saliency(model, torch.rand(3, 4, 4), "channel:0", layer=layer)
        assert found.array.shape == (24,)


def test_a_permutation_is_undone() -> None:

    net = Net(
        lambda x, conv, act, head: head(act(conv(x).permute(0, 2, 3, 1)).mean((1, 2))),
        conv=nn.Conv2d(3, 4, 1),
        act=nn.ReLU(),
        head=nn.Linear(4, 2),
    )
    image = torch.rand(3, 4, 6)
    (found,) = package.saliency(net, image, method="gradient", layer="act")
    expected = net.get_submodule("conv")(image[None])[0].relu().detach()
    np.testing.assert_allclose(found.beside["activation"], expected, rtol=1e-5, atol=1e-6)


class Enlarges(nn.Module):
    """A head whose map is enlarged and squashed."""

    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(F.relu(self.body(x)))
        if self.skip:
            y = y + x[:, :2]
        return F.softplus(F.interpolate(y, scale_factor=2.0, mode="bilinear"))[:, :, 1:-1]


def test_what_makes_the_output_is_not_the_last_layer_before_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for model in every_format(Enlarges(skip=False), (1, 3, 6, 6), tmp_path).values():
        (found,) = package.saliency(model, torch.rand(3, 6, 6), "class:1", method="gradcam")
        assert found.layer == "relu_0"


def test_an_image_that_is_added_to_the_output_passes_every_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name, model in every_format(Enlarges(skip=True), (1, 3, 6, 6), tmp_path).items():
        layers = "conv_1, conv_0" if name == "frozen.ts" else "head, body"
        with pytest.raises(LayerError, match=f"every path .* with --layer, such as {layers}, or"):
            package.saliency(model, torch.rand(3, 6, 6), "class:1", method="gradcam")


def test_a_layer_of_one_place_fails_for_that_image_alone(tmp_path: Path) -> None:

    net = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(2, 2, 1)).eval()
    for name, side in {"a": 4, "b": 2, "c": 4}.items():
        np.save(tmp_path / f"{name}.npy", np.ones((3, side, side), np.float32))
    sources = find_images([f"{tmp_path}/*.npy"], None).sources
    for layer in ("1", None):
        explainer = Explainer(package.wrap(net), Settings(method="gradcam", layer=layer))
        found = list(outcomes(explainer, [sources], Preprocess(), [parse_seed("channel:0")]))
        failed = [one.image for one in found if isinstance(one, Failure)]
        assert failed == (["b.npy"] if layer else []), layer
    with pytest.raises(UsageError, match="no such layer"):
        list(
            outcomes(Explainer(package.wrap(net), Settings(layer="x")), [sources], Preprocess(), [])
        )


def test_an_unknown_layer_has_its_nearest_names() -> None:
    net = nn.Sequential()
    for n in range(20):
        net.add_module(f"block{n}", nn.Conv2d(3, 3, 1))
    with pytest.raises(UsageError, match=r"did you mean block\d+, block\d+, block\d+\?"):
        package.saliency(net, torch.rand(3, 4, 4), layer="blok1")
    first = ", ".join(f"block{n}" for n in range(12))
    with pytest.raises(UsageError, match=f"it has {first} and 8 more: see gradviz inspect"):
        package.saliency(net, torch.rand(3, 4, 4), layer="features")


def test_only_what_is_written_to_is_copied() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1)).requires_grad_(False)
    x = torch.rand(1, 3, 4, 4).requires_grad_()
    outputs: list[Tensor] = []

    def call(x: Tensor) -> Tensor:
        outputs[:] = [net[0](x), net[1](net[0](x))]
        first = outputs[0].detach()
        torch.zeros(1, 2, 4, 4).add_(first)  # reads what is held
        return outputs[1]

    recorder = ActivationRecorder(net)
    run_with_layers(net, call, x, recorder)
    places = {tensor.data_ptr() for tensor in recorder.recorded.values()}
    assert {output.data_ptr() for output in outputs} <= places
