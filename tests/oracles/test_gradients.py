"""gradient.npy against answers from elsewhere: by hand, by torch.autograd.grad, by Captum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient
from captum.attr import Saliency as CaptumSaliency
from torch import Tensor, nn

import gradviz as package
from gradviz.errors import UsageError
from tests.helpers import nets
from tests.helpers.commands import Gradviz
from tests.helpers.formats import FORMATS, NEED_TRUST, load, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    save(nets.dense(), torch.rand(1, 3, 12, 16), folder, *FORMATS)
    np.save(folder / "v.npy", np.random.default_rng(0).normal(size=(2, 6, 8)))
    np.save(folder / "mask.npy", np.random.default_rng(1).random((6, 8)))
    return folder


@pytest.fixture(scope="module")
def image() -> Tensor:
    torch.manual_seed(2)
    return torch.rand(3, 12, 16)


def ones(y: Tensor) -> Tensor:
    return torch.ones_like(y)


def at(*index: Any) -> Callable[[Tensor], Tensor]:
    """A cotangent that is 1 at an index of one image's output, 0 elsewhere."""

    def build(y: Tensor) -> Tensor:
        v = torch.zeros_like(y)
        v[index] = 1
        return v

    return build


def winners(y: Tensor) -> Tensor:
    return (y == y.amax(0, keepdim=True)).to(y.dtype)


def second_wins(y: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(y[0]), (y[1] > y[0]).to(y.dtype)])


def stored(name: str, folder: Path) -> Callable[[Tensor], Tensor]:
    return lambda y: torch.from_numpy(np.load(folder / name)).to(y.dtype).expand_as(y)


SEEDS: dict[str, Callable[[Path], Callable[[Tensor], Tensor]]] = {
    "ones": lambda folder: ones,
    "class:1": lambda folder: at(1),
    "channel:0": lambda folder: at(0),
    "top": lambda folder: winners,
    "top:2": lambda folder: lambda y: 1 - winners(y),
    "predicted:1": lambda folder: second_wins,
    "pixel:5,2": lambda folder: at(slice(None), 2, 5),
    "pixel:5,2,1": lambda folder: at(1, 2, 5),
    "at:10,5,0": lambda folder: at(0, 2, 5),
    "region:1,2,5,6": lambda folder: at(slice(None), slice(2, 6), slice(1, 5)),
    "region:1,2,5,6,0": lambda folder: at(0, slice(2, 6), slice(1, 5)),
    "mask:mask.npy": lambda folder: stored("mask.npy", folder),
    "tensor:v.npy": lambda folder: stored("v.npy", folder),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_seed_on_every_format_from_the_first_call_to_the_fifth(
    name: str,
    precision: str,
    folder: Path,
    image: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if (name, precision) == ("frozen.ts", "float64"):
        with pytest.raises(UsageError, match="float32 constants"):
            load(folder / name, "dense", precision)
        return
    monkeypatch.chdir(folder)
    net = nets.dense().to(getattr(torch, precision))
    x = image.to(getattr(torch, precision))[None].requires_grad_()
    y = net(x)
    expected = {
        spec: torch.autograd.grad(y, x, cotangent(folder)(y.detach()[0])[None], retain_graph=True)
        for spec, cotangent in SEEDS.items()
    }
    model = load(folder / name, "dense", precision)
    for _ in range(5):
        for result in package.saliency(model, image, list(SEEDS)):
            reference = expected[result.seed][0][0].numpy()
            assert result.array.dtype == np.float32
            error = np.abs(result.array - reference).max() / np.abs(reference).max()
            assert error <= 1e-6, (result.seed, error)


def test_seeds_may_come_in_any_order_and_alone(folder: Path, image: Tensor) -> None:
    model = load(folder / "scripted.ts", "dense")
    together = package.saliency(model, image, ["ones", "pixel:5,2"])
    backwards = package.saliency(model, image, ["pixel:5,2", "ones"])
    alone = package.saliency(model, image, "pixel:5,2")
    assert [result.seed for result in backwards] == ["pixel:5,2", "ones"]
    assert np.array_equal(together[1].array, backwards[0].array)
    assert np.array_equal(together[1].array, alone[0].array)
    assert np.array_equal(together[0].array, backwards[1].array)


def test_each_image_of_a_batch_has_its_own_gradient(folder: Path, tmp_path: Path) -> None:
    """Batched and alone agree, and the seed that looks at the output looks at each image's."""
    images = torch.rand(3, 3, 12, 16)
    for n, each in enumerate(images):
        np.save(tmp_path / f"{n}.npy", each.numpy())
    model = load(folder / "checkpoint.pt", "dense", "float64")
    paths = sorted(tmp_path.glob("*.npy"))
    together = package.saliency(model, paths, "top", batch_size=3)
    for path, each, result in zip(paths, images, together, strict=True):
        x = each.double()[None].requires_grad_()
        y = nets.dense().double()(x)
        (expected,) = torch.autograd.grad(y, x, winners(y.detach()[0])[None])
        assert result.image == path.name
        np.testing.assert_allclose(result.array, expected[0], rtol=1e-6, atol=1e-9)


def test_a_linear_models_gradient_is_its_weights_whatever_the_image() -> None:
    weights = np.arange(12.0).reshape(3, 2, 2)
    for image in (torch.rand(3, 2, 2), torch.zeros(3, 2, 2)):
        one, two, both = package.saliency(nets.Linear(), image, ["class:0", "class:1", "ones"])
        assert np.array_equal(one.array, weights)
        assert np.array_equal(two.array, -2 * weights)
        assert np.array_equal(both.array, -weights)
        assert one.score == pytest.approx(float((weights * image.numpy()).sum()), rel=1e-6)


def test_a_quadratic_models_gradient_is_v_times_x(tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(size=(2, 3, 4)).astype(np.float32)
    v = np.random.default_rng(4).normal(size=(2, 3, 4)).astype(np.float32)
    np.save(tmp_path / "v.npy", v)
    ones, weighted = package.saliency(nets.HalfSquare(), x, ["ones", f"tensor:{tmp_path}/v.npy"])
    assert np.array_equal(ones.array, x)
    np.testing.assert_allclose(weighted.array, v * x, rtol=1e-6)
    assert weighted.score == pytest.approx(float((v * x * x).sum() / 2), rel=1e-5)


def test_finite_differences_agree(folder: Path, image: Tensor) -> None:
    model = load(folder / "scripted.ts", "dense", "float64")
    (result,) = package.saliency(model, image, "region:1,1,6,5")
    direction = torch.randn(image.shape, dtype=torch.float64, generator=torch.Generator())
    step = 1e-6

    def value(t: float) -> float:
        y = model((image.double() + t * direction)[None])
        return float(y[0, :, 1:5, 1:6].sum())

    slope = (value(step) - value(-step)) / (2 * step)
    assert slope == pytest.approx(float((result.array * direction.numpy()).sum()), rel=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_the_one_convolution_network(name: str, tmp_path: Path, gradviz: Gradviz) -> None:
    """The gradient that Captum's own tests expect of this network, through the command line."""
    save(nets.one_convolution(), torch.rand(1, 1, 4, 4), tmp_path, name)
    np.save(tmp_path / "count.npy", np.arange(16, dtype=np.float32).reshape(1, 4, 4))
    arch = ["--arch", f"{Path(nets.__file__)}:one_convolution"]
    result = gradviz(
        "saliency", name, "count.npy", "--seed", "class:0", "--no-optimize",
        *(arch if name == "checkpoint.pt" else []),
        *(["--trust"] if name in NEED_TRUST else []),
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = np.load(tmp_path / "gradviz-out/count.npy/class-0/gradient.npy")
    assert found.tolist() == [[[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]]


@pytest.mark.parametrize("target", [0, 3])
def test_captum_agrees_on_a_classifier(target: int) -> None:
    net, image = nets.scores().double(), torch.rand(3, 9, 9, dtype=torch.float64)
    x = image[None].requires_grad_()
    oracles = {
        "gradient": CaptumSaliency(net).attribute(x, target=target, abs=False),
        "input-x-gradient": InputXGradient(net).attribute(x, target=target),
    }
    model = package.wrap(net, precision="float64")
    for method, expected in oracles.items():
        (result,) = package.saliency(model, image, f"class:{target}", method=method)
        np.testing.assert_allclose(result.array, expected.detach()[0], rtol=1e-6, atol=1e-9)


def test_captum_agrees_on_a_dense_pixel(image: Tensor) -> None:
    x = image[None].requires_grad_()
    expected = CaptumSaliency(nets.dense()).attribute(x, target=(1, 2, 5), abs=False)
    (result,) = package.saliency(nets.dense(), image, "pixel:5,2,1")
    np.testing.assert_allclose(result.array, expected[0], rtol=1e-5, atol=1e-8)


def test_the_callers_module_stays_as_it_was() -> None:
    net = nets.scores().train()
    package.saliency(net, torch.rand(3, 9, 9))
    assert net.training and all(parameter.requires_grad for parameter in net.parameters())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_program_of_a_fixed_batch_runs_at_it(tmp_path: Path, gradviz: Gradviz) -> None:
    """Three images through a program exported for two: the last batch is filled up."""
    net, images = nets.scores(), torch.rand(3, 3, 9, 9)
    torch.export.save(torch.export.export(net, (images[:2],)), tmp_path / "two.pt2")
    for n, each in enumerate(images):
        np.save(tmp_path / f"{n}.npy", each.numpy())
    command = ["saliency", "two.pt2", "[0-2].npy", "--trust", "--seed", "class:1"]
    result = gradviz(*command)
    assert result.exit_code == 0, result.stderr
    x = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(x)[:, 1].sum(), x)
    for n in range(3):
        found = np.load(f"gradviz-out/{n}.npy/class-1/gradient.npy")
        np.testing.assert_allclose(found, expected[n], rtol=1e-5, atol=1e-8)
    refused = gradviz(*command, "--batch-size", "3", "-o", "b")
    assert refused.exit_code == 2 and "batches of 2" in refused.stderr


def test_a_score_leaves_out_what_is_not_seeded() -> None:
    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.flatten(1).sum(1), x.flatten(1).sum(1) / 0], 1)

    (result,) = package.saliency(Mixed(), torch.ones(1, 2, 2), "class:0")
    assert result.score == 4
