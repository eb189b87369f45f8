"""Effective fields from parts of images, next to those of whole images in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradviz
from gradviz.commands.receptive_field.measure import FieldMeter, FieldSettings
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.model.model import in_doubles


class Watched(nn.Module):
    """[N, 3, H, W] -> [N, 2, H/2, W/2]; the sizes on which it ran with numbers are kept."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.path = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 5, stride=2, padding=2)
        )
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            self.sizes.append(tuple(x.shape[2:]))
        y: Tensor = self.path(x)
        return y


class Placed(Watched):
    """The same, weighed by the column."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * torch.arange(1.0, y.shape[-1] + 1, dtype=x.dtype, device=x.device)


@pytest.mark.parametrize("pixels", [((15, 20),), ((0, 0), (31, 23))])
@pytest.mark.parametrize("kind", [Watched, Placed])
def test_effective_fields_are_those_of_the_whole_image(
    kind: type[Watched], pixels: tuple[tuple[int, int], ...]
) -> None:
    random = np.random.default_rng(0).random((3, 48, 64), np.float32)
    image = LoadedImage("random", prepare(Picture(random, "array"), Preprocess()))
    model = in_doubles(gradviz.wrap(kind().eval()))
    net = model.module
    assert isinstance(net, Watched)
    found = list(FieldMeter(model, Preprocess(), FieldSettings(pixels=pixels)).at_image(image))
    assert [field.pixel for field in found] == list(pixels)
    # What moves with the image is computed from the field alone.
    assert ((48, 64) in net.sizes) == (kind is Placed)

    x = image.prepared.tensor[None].double().requires_grad_()
    y = net(x)
    for field in found:
        column, row = field.pixel
        (g,) = torch.autograd.grad(y[..., row, column].sum(), x, retain_graph=True)
        assert field.energy == pytest.approx(g[0].abs().sum(0).numpy(), rel=1e-6, abs=0)
        assert (field.local == (g[0] != 0).any(0).numpy()).all()
        assert field.local.any()


def test_samples_of_noise_are_those_of_whole_inputs() -> None:
    settings = FieldSettings(input_size=(64, 48), samples=3)
    model = in_doubles(gradviz.wrap(Watched().eval()))
    net = model.module
    assert isinstance(net, Watched)
    meter = FieldMeter(model, Preprocess(), settings)
    (geometry,) = meter.geometries([None])
    net.sizes.clear()
    (found,) = meter.at_noise(geometry)
    assert (48, 64) not in net.sizes

    draws = np.random.default_rng(0)
    energy = np.zeros((48, 64))
    for _ in range(3):
        x = torch.from_numpy(draws.random((1, 3, 48, 64), np.float32)).double().requires_grad_()
        (g,) = torch.autograd.grad(net(x)[..., 12, 16].sum(), x)
        energy += g[0].abs().sum(0).numpy() / 3
    assert found.energy == pytest.approx(energy, rel=1e-6, abs=0)
