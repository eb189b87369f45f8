"""The map of boxes against each pixel's own field."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import gradviz
from gradviz.arrays import Size
from gradviz.field.boxes import boxes_of
from gradviz.field.geometry import measure_geometries
from gradviz.field.probe import Probe
from tests.helpers.nets import Net

NETWORKS = {
    "strided": nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1), nn.Conv2d(2, 1, 5, padding=2)),
    "touching": nn.Conv2d(3, 1, 2, stride=2),
    "upsampling": nn.Sequential(
        nn.Conv2d(3, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, padding=1), nn.Upsample(scale_factor=2)
    ),
    "ceil_mode": nn.MaxPool2d(3, 2, ceil_mode=True),
    "padded": nn.Conv2d(3, 1, 3, padding=5),
    # The other side of the image as well, which no window does.
    "mirrored": Net(lambda x: x + nn.functional.avg_pool2d(x.flip(3), 3, 1, 1)),
    # Every second output pixel has nothing to look at.
    "blinds": nn.ConvTranspose2d(3, 1, 1, stride=2),
    "global": Net(lambda x: x * x.mean((2, 3), keepdim=True)),
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
