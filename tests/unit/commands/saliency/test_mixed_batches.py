"""Models whose answer to an image depends on the other images of its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradviz


class Mixing(nn.Module):
    """A convolution of what statistics over the batch make of the image."""

    def __init__(self, mix: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.mix = mix
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.mix(x))
        return y**2


MIXES: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": nn.BatchNorm2d(3, track_running_stats=False),
    "mean": lambda x: x - x.mean(0),
    "largest": lambda x: x / x.max(),
}


@pytest.fixture
def net(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return Mixing(MIXES[request.param])


def alone(net: nn.Module, image: np.ndarray) -> np.ndarray:
    """The gradient of the sum of the output for one image, by torch alone."""
    x = torch.from_numpy(image)[None].requires_grad_()
    return np.asarray(torch.autograd.grad(net(x).sum(), x)[0][0])


@pytest.mark.parametrize("net", MIXES, indirect=True)
def test_each_image_has_its_own_gradient(net: nn.Module, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((5, 3, 12, 10), np.float32)
    for n, image in enumerate(images):
        np.save(tmp_path / f"{n}.npy", image)
    found = gradviz.saliency(net, str(tmp_path / "*.npy"), ["ones", "pixel:2,3"], batch_size=4)
    assert len(found) == 10
    for image, result in zip(images, found[::2], strict=True):
        np.testing.assert_allclose(result.array, alone(net, image), rtol=1e-4, atol=1e-5)
    assert all("change each other's answers" in " ".join(each.warnings) for each in found)


@pytest.mark.parametrize("net", MIXES, indirect=True)
def test_samples_of_one_image_do_not_change_each_other(net: nn.Module) -> None:
    image = np.random.default_rng(0).random((3, 12, 10), np.float32)
    smooth = partial(gradviz.saliency, net, image, "ones", method="smoothgrad", samples=8)
    (expected,), (found,) = smooth(batch_size=1), smooth(batch_size=8)
    np.testing.assert_array_equal(found.array, expected.array)
    assert "change each other's answers" in " ".join(found.warnings)


def saved(folder: Path, images: Sequence[np.ndarray]) -> str:
    for n, image in enumerate(images):
        np.save(folder / f"{n}.npy", image)
    return str(folder / "*.npy")


@pytest.mark.parametrize("net", MIXES, indirect=True)
def test_an_image_of_its_own_size_proves_nothing_for_the_next_batch(
    net: nn.Module, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0).random
    images = [draw((3, *size), np.float32) for size in ((8, 8), (12, 10), (12, 10))]
    for image, result in zip(
        images, gradviz.saliency(net, saved(tmp_path, images), "ones"), strict=True
    ):
        np.testing.assert_allclose(result.array, alone(net, image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", ["largest"], indirect=True)
def test_the_image_that_changes_the_others_may_be_the_first(net: nn.Module, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((2, 3, 12, 10), np.float32) * [[[[4]]], [[[1]]]]
    images = images.astype(np.float32)
    for image, result in zip(
        images, gradviz.saliency(net, saved(tmp_path, [*images]), "ones"), strict=True
    ):
        np.testing.assert_allclose(result.array, alone(net, image), rtol=1e-4, atol=1e-5)


def test_a_model_that_takes_no_image_alone_is_computed_with_a_warning(tmp_path: Path) -> None:
    torch.manual_seed(0)

    class Several(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) < 2:
                raise ValueError("more than one image, please")
            return x.flatten(1)[:, :4] ** 2

    images = np.random.default_rng(0).random((3, 3, 4, 4), np.float32)
    for result in gradviz.saliency(Several(), saved(tmp_path, [*images]), "ones"):
        assert "does not take one image" in " ".join(result.warnings)
        assert result.array.any()


def test_a_batch_that_is_written_into_the_model_is_no_mixing(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)).reshape(4, -1) ** 2

    images = np.random.default_rng(0).random((4, 3, 4, 4), np.float32)
    found = gradviz.saliency(Fixed(), saved(tmp_path, [*images]), "top:2")
    assert [result.output_shape for result in found] == [(3,)] * 4
    assert all("does not take one image" in " ".join(each.warnings) for each in found)


def test_a_model_that_draws_is_not_taken_for_one_that_mixes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    for n, image in enumerate(images):
        np.save(tmp_path / f"{n}.npy", image)
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Dropout()).train()
    model = gradviz.wrap(net)
    model.module.train()
    for result in gradviz.saliency(model, str(tmp_path / "*.npy"), "ones"):
        assert "answers otherwise" in " ".join(result.warnings)
        assert "each other" not in " ".join(result.warnings)
