"""The layer that Grad-CAM reads if none is named, and the names of operations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz as package
from gradviz.backward.cam_layer import REASON
from gradviz.errors import LayerError, UsageError
from tests.helpers.commands import Gradviz, failed, line
from tests.helpers.formats import models, script

See = Callable[[str, Tensor], Tensor]
"""Looks at a tensor of the pass, and may put another in its place."""

SIDE = 8


class Seen(nn.Module):
    """A network whose tensors can be looked at, or cut off from what they were computed from."""

    def __init__(self) -> None:
        super().__init__()
        self.see: See = lambda name, tensor: tensor

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Residual(Seen):
    """A block with a skip, as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.see("stem", F.relu(self.stem(x)))
        branch = self.see("branch", self.branch(F.max_pool2d(x, 3, 1, 1)))
        x = self.see("sum", F.relu(x + branch))
        y: Tensor = self.head(x.mean((2, 3)))
        return y


class Attending(Seen):
    """A transformer of two blocks; the class token alone, or all tokens, make the scores."""

    def __init__(self, extra: int, pooled: bool) -> None:
        super().__init__()
        self.pooled, self.extra = pooled, extra
        self.patches = nn.Conv2d(3, 6, 2, 2)
        self.first = nn.Parameter(torch.randn(1, extra, 6))
        self.packed = nn.ModuleList(nn.Linear(6, 18) for _ in range(2))
        self.mix = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.see("patches", self.patches(x).flatten(2).transpose(1, 2))
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1)
        for n, (packed, mix) in enumerate(zip(self.packed, self.mix, strict=True)):
            q, k, v = packed(x).chunk(3, -1)
            x = self.see(f"attended {n}", x + (q @ k.transpose(1, 2)).softmax(-1) @ v)
            x = self.see(f"block {n}", x + F.gelu(mix(x)))
        x = self.see("norm", self.norm(x))
        y: Tensor = self.head(x[:, self.extra :].mean(1) if self.pooled else x[:, 0])
        return y


class Decoding(Seen):
    """A map from two scales, as in a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, 2, 1)
        self.merge, self.head = nn.Conv2d(12, 6, 3, padding=1), nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.see("stem", self.stem(x).relu())
        deep = self.see("deep", F.interpolate(self.deep(x).relu(), scale_factor=2.0))
        x = self.see("merged", self.merge(torch.cat([x, deep], 1)).relu())
        return torch.sigmoid(self.head(x))


class Scales(Seen):
    """Scores of two maps: no single one behind the stem holds all of the evidence."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.near = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.far, self.head = nn.Conv2d(6, 6, 3, 2, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.see("stem", self.stem(x).relu())
        near, far = self.see("near", self.near(x)), self.see("far", self.far(x))
        y: Tensor = self.head(near.mean((2, 3)) + far.mean((2, 3)))
        return y


NETWORKS: dict[str, tuple[Callable[[], Seen], str]] = {
    "residual": (Residual, "sum"),
    "class token": (lambda: Attending(1, pooled=False), "block 0"),
    "registers": (lambda: Attending(3, pooled=False), "block 0"),
    "pooled": (lambda: Attending(1, pooled=True), "norm"),
    "decoder": (Decoding, "merged"),
    "scales": (Scales, "stem"),
}
"""Networks, and the tensor of each that is to be read."""


def cut(name: str, each: str, tensor: Tensor) -> Tensor:
    return tensor.detach() if each == name else tensor


def on_all_paths(net: Seen, image: Tensor) -> list[str]:
    """The tensors behind which the image has no influence if they are cut off from it, and whose
    places have a gradient, in the order of the pass: by forward and backward passes alone."""
    tensors: dict[str, Tensor] = {}
    net.see = lambda name, tensor: tensors.setdefault(name, tensor)
    score = net(image[None]).select(1, 1).sum()
    gradients = torch.autograd.grad(score, [*tensors.values()])
    extra = net.extra if isinstance(net, Attending) else 0
    found = []
    for name, gradient in zip(tensors, gradients, strict=True):
        net.see = partial(cut, name)
        x = image[None].clone().requires_grad_()
        score = net(x).select(1, 1).sum()
        (reached,) = torch.autograd.grad(score, x, allow_unused=True)
        places = gradient if gradient.dim() == 4 or name == "patches" else gradient[:, extra:]
        if (reached is None or not reached.any()) and places.any():
            found.append(name)
    net.see = lambda name, tensor: tensor
    return found


def cam(net: Seen, image: Tensor, name: str, channel: int) -> np.ndarray:
    """Grad-CAM at a tensor, by hand."""
    tensors: dict[str, Tensor] = {}
    net.see = lambda each, tensor: tensors.setdefault(each, tensor)
    score = net(image[None]).select(1, channel).sum()
    (gradient,) = torch.autograd.grad(score, tensors[name])
    net.see = lambda each, tensor: tensor
    value = tensors[name].detach()
    if value.dim() == 3:
        count = SIDE // 2
        value, gradient = (
            each[:, -(count**2) :].transpose(1, 2).view(1, -1, count, count)
            for each in (value, gradient)
        )
    found: np.ndarray = (gradient.mean((2, 3), keepdim=True) * value).sum(1).clamp(min=0).numpy()
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_map_without_which_the_image_has_no_influence(name: str) -> None:
    torch.manual_seed(4)
    make, expected = NETWORKS[name]
    net, image = make().eval(), torch.rand(3, SIDE, SIDE)
    assert on_all_paths(net, image)[-1] == expected
    kind = "channel" if name == "decoder" else "class"
    seeds = [f"{kind}:{n}" for n in range(4)]
    results = package.saliency(net, image, seeds, method="gradcam")
    assert any(result.array.any() for result in results)
    for n, found in enumerate(results):
        np.testing.assert_allclose(found.array, cam(net, image, expected, n), rtol=1e-4, atol=1e-6)
    tokens = name in ("class token", "registers")
    assert found.layer_reason is not None and found.layer_reason.startswith(REASON)
    assert ("is zero but for other tokens" in found.layer_reason) == tokens


class Block(nn.Module):
    """A block with a skip, whose sum no module returns before its activation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)) + x)
        return y


class Blocks(nn.Module):
    """Named blocks, and a sum that no module returns; TorchScript compiles it."""

    def __init__(self, bare: bool) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 6, 3, padding=1), nn.Sequential(Block(), Block())
        self.head, self.bare = nn.Linear(6, 4), bare

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        b = self.blocks(x)
        if self.bare:
            b = b * 2 + x
        y: Tensor = self.head(b.mean((2, 3)))
        return y


@pytest.mark.parametrize(
    "bare, eager, other",
    [
        (False, "blocks", "relu_1"),
        (True, "add_2", "add_2"),
    ],
)
def test_every_format_reads_the_same_tensor_under_a_name_that_layer_takes(
    bare: bool, eager: str, other: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net, images = Blocks(bare).eval(), torch.rand(3, 3, SIDE, SIDE)
    for n, image in enumerate(images):
        np.save(tmp_path / f"{n}.npy", image.numpy())
    files = [tmp_path / f"{n}.npy" for n in range(3)]
    arrays = []
    names = ("scripted.ts", "traced.ts", "frozen.ts", "program.pt2")
    # The program takes two images at once, so that the last batch is filled up.
    for format, model in models(net, images[:2], tmp_path, *names).items():
        for method in ("gradcam", "guided-gradcam", "gradcam++", "hirescam", "layercam"):
            found = package.saliency(model, files, "class:1", method=method)
            assert {each.layer for each in found} == {eager if format == "eager" else other}
            named = package.saliency(model, files, "class:1", method=method, layer=found[0].layer)
            again = package.saliency(model, files, "class:1", method=method, layer=other)
            for one, two, three in zip(found, named, again, strict=True):
                assert one.array.tolist() == two.array.tolist() == three.array.tolist()
                assert two.layer_reason is None
            if method == "gradcam":
                arrays.append([each.array for each in found])
    assert len(arrays) == 5
    for each in arrays:
        np.testing.assert_allclose(each, arrays[0], rtol=1e-4, atol=1e-7)


class Joined(nn.Module):
    """A map that is joined of two, which no module returns."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y: Tensor = self.head(torch.cat([x, x.relu()], 1).mean((2, 3)))
        return y


def test_filling_up_the_batch_of_a_program_changes_no_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 3, SIDE, SIDE)
    for n, image in enumerate(images):
        np.save(tmp_path / f"{n}.npy", image.numpy())
    files = [tmp_path / f"{n}.npy" for n in range(3)]
    found = models(Joined().eval(), images[:2], tmp_path, "program.pt2")
    plain, program = (
        package.saliency(model, files, "class:1", method="gradcam") for model in found.values()
    )
    assert [each.layer for each in (*plain, *program)] == ["cat_0"] * 6
    for one, other in zip(plain, program, strict=True):
        np.testing.assert_allclose(one.array, other.array, rtol=1e-4, atol=1e-7)


def test_an_operation_has_a_field_and_a_gradient_too() -> None:
    torch.manual_seed(0)
    net = Blocks(bare=True).eval()
    fields = package.receptive_field(net, layer="add_2", input_size=(32, 32))
    assert fields.geometry.x is not None and fields.geometry.x.size == 7  # three of 3×3
    image = torch.rand(3, SIDE, SIDE)
    (found,) = package.saliency(net, image, "class:1", layer="add_2")
    expected = net.head.weight[1].detach() / SIDE**2
    assert np.allclose(found.array, expected[:, None, None].expand(6, SIDE, SIDE))
    with pytest.raises(UsageError, match="no such layer"):
        package.saliency(net, image, layer="add_3")


def test_a_layer_keeps_its_name_from_an_operation() -> None:
    net = nn.Sequential()
    net.add_module("relu_0", nn.Conv2d(3, 2, 1))
    net.add_module("act", nn.ReLU())
    image = torch.randn(3, 4, 4)
    (conv,) = package.saliency(net, image, "ones", layer="relu_0")
    (relu,) = package.saliency(net, image, "ones", layer="relu_1")
    assert conv.beside["activation"].min() < 0 <= relu.beside["activation"].min()


def test_what_has_no_map_is_refused_with_the_reason() -> None:
    image = torch.rand(3, 4, 4)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 3), nn.ReLU(), nn.Linear(3, 2))
    with pytest.raises(LayerError, match=r"no layer has spatial extent.*another --method"):
        package.saliency(flat, image, method="gradcam")

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x + self.conv(x)
            return y

    with pytest.raises(LayerError, match=r"every path .* --layer, such as conv, or"):
        package.saliency(Around(), image, "ones", method="gradcam")


class Sorting(nn.Module):
    """A network in which it is not known where the elements lie, from the middle on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.late = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(SIDE * SIDE, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x)).flatten(2).sort(-1).values
        y: Tensor = self.head(self.late(x).mean(1))
        return y


def test_what_may_be_a_later_map_is_named() -> None:
    torch.manual_seed(0)
    (found,) = package.saliency(Sorting().eval(), torch.rand(3, SIDE, SIDE), method="gradcam")
    assert found.layer == "relu_0"
    assert found.layer_reason == (
        f"{REASON}; what lies where in late, sort_0 behind it is not known, and can be said "
        "with --layer and --layout"
    )


def test_the_reason_is_printed_once_and_kept(gradviz: Gradviz, tmp_path: Path) -> None:
    torch.manual_seed(0)
    script(Blocks(bare=False).eval(), tmp_path / "net.ts")
    np.save(tmp_path / "a.npy", torch.rand(3, SIDE, SIDE).numpy())
    result = gradviz("saliency", "net.ts", "a.npy", "--method", "gradcam", "--seed", "class:1",
                     "--seed", "class:2", "--view", "gray")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count(f"reads the layer relu_1: {REASON}") == 1
    assert result.stdout.count("layer relu_1") == 2
    named = gradviz("saliency", "net.ts", "a.npy", "--method", "gradcam", "--layer", "relu_1",
                    "--seed", "class:1", "--view", "gray", "--overwrite")  # fmt: skip
    assert named.exit_code == 0 and "reads the layer" not in named.stderr
    assert line()["layer"] == "relu_1" and "layer_reason" not in line()
    script(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 4)), tmp_path / "flat.ts")
    failed(gradviz("saliency", "flat.ts", "a.npy", "--method", "layercam", "-o", "flat"),
           2, "no layer has spatial extent")  # fmt: skip
