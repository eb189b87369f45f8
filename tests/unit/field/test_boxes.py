"""The map of boxes against each pixel's own field."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradviz
from gradviz.arrays import Size
from gradviz.field.boxes import boxes_of
from gradviz.field.geometry import measure_geometries
from gradviz.field.probe import Probe


class Mirrored(nn.Module):
    """Looks at the other side of the image as well, which no window does."""

    def forward(self, x: Tensor) -> Tensor:
        return x + nn.functional.avg_pool2d(x.flip(3), 3, 1, 1)


class Blinds(nn.Module):
    """Every second output pixel has nothing to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(3, 1, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class Pooled(nn.Module):
    """Global through its mean."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True)


NETWORKS = {
    "strided": nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1), nn.Conv2d(2, 1, 5, padding=2)),
    "touching": nn.Conv2d(3, 1, 2, stride=2),
    "upsampling": nn.Sequential(
        nn.Conv2d(3, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, padding=1), nn.Upsample(scale_factor=2)
    ),
    "ceil_mode": nn.MaxPool2d(3, 2, ceil_mode=True),
    "padded": nn.Conv2d(3, 1, 3, padding=5),
    "mirrored": Mirrored(),
    "blinds": Blinds(),
    "global": Pooled(),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_pixels_box(name: str) -> None:
    model = gradviz.wrap(NETWORKS[name])

    def probe_at(size: Size) -> Probe:
        return Probe(model, torch.rand(3, *reversed(size)))

    (geometry,) = measure_geometries(probe_at, [None])
    probe = probe_at((26, 30))
    boxes = boxes_of(probe, probe_at, geometry)
    width, height = probe.size
    assert boxes.shape == (height, width, 4) and boxes.dtype == np.int32
    for y, x in np.ndindex(height, width):
        assert tuple(boxes[y, x]) == (probe.structural(x, y).box or (0, 0, 0, 0))
