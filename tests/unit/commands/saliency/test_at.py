"""`at:X,Y`: the output pixel whose field lies around a pixel of the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradviz

NETS: dict[str, Callable[[], nn.Module]] = {
    "twenty valid": lambda: nn.Sequential(
        nn.Conv2d(3, 1, 3), *(nn.Conv2d(1, 1, 3) for _ in range(19))
    ),
    "padded": lambda: nn.Sequential(nn.Conv2d(3, 1, 5, padding=2), nn.Conv2d(1, 1, 3, padding=1)),
    "padded on one side": lambda: nn.Sequential(nn.ZeroPad2d((8, 0, 8, 0)), nn.Conv2d(3, 1, 9)),
    "stride": lambda: nn.Sequential(nn.Conv2d(3, 1, 4, 2), nn.Conv2d(1, 1, 3, 2)),
    "upsampled": lambda: nn.Sequential(nn.Conv2d(3, 1, 5), nn.Upsample(scale_factor=2.0)),
}


@pytest.mark.parametrize("tile", ["auto", "off"])
@pytest.mark.parametrize("name", NETS)
def test_the_field_lies_around_the_pixel(name: str, tile: str) -> None:
    net = NETS[name]().eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(1.0)
    image = np.random.default_rng(0).random((3, 160, 144), np.float32)
    for x, y in ((70, 90), (77, 61)):
        (found,) = gradviz.saliency(net, image, f"at:{x},{y}", tile=tile)  # type: ignore[arg-type]
        assert not found.notes
        rows, columns = (np.flatnonzero(found.array.any(axis=(0, axis))) for axis in (2, 1))
        for place, there in ((x, columns), (y, rows)):
            stride = {"stride": 4}.get(name, 1)
            assert abs((there[0] + there[-1]) / 2 - place) <= stride / 2


class Gate(nn.Module):
    """Every pixel looks at all."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True)


def test_an_unknown_centre_is_told() -> None:
    image = np.random.default_rng(0).random((3, 40, 40), np.float32)
    (found,) = gradviz.saliency(Gate(), image, "at:20,20")
    assert any("by proportion" in note for note in found.notes)


def test_beyond_the_last_centre_the_last_pixel_is_taken() -> None:
    image = np.random.default_rng(0).random((3, 64, 64), np.float32)
    (found,) = gradviz.saliency(NETS["twenty valid"](), image, "at:0,63")
    columns = np.flatnonzero(found.array.any(axis=(0, 1)))
    assert columns[0] == 0
