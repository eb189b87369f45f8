"""Models of one channel and of many, and what is drawn over their images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import nn

from tests.helpers.commands import Gradviz, failed
from tests.helpers.formats import script


@pytest.fixture
def bands(gradviz: Gradviz) -> np.ndarray:
    """Five bands of 12×9 pixels, in `scene.tif` and `scene.npy`."""
    values = np.random.default_rng(0).integers(0, 10_000, (5, 9, 12)).astype(np.uint16)
    tifffile.imwrite("scene.tif", values, photometric="minisblack", planarconfig="separate")
    np.save("scene.npy", values)
    return values


def convolution(channels: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(channels, 2, 3, padding=1)


@pytest.mark.parametrize("name", ["scene.tif", "scene.npy"])
def test_five_bands(gradviz: Gradviz, bands: np.ndarray, name: str) -> None:
    net = convolution(5)
    model = script(net, "five.ts")
    options = ("--bands", "4,3,2", "--std", "2,2,2,2,2", "--view", "overlay", "--seed", "channel:1")
    result = gradviz("saliency", model, name, *options)
    assert result.exit_code == 0, result.stderr
    x = torch.from_numpy(bands.astype(np.float32) / np.float32(65535) / 2).requires_grad_()
    (expected,) = torch.autograd.grad(net(x[None])[0, 1].sum(), x)
    folder = Path("gradviz-out", name, "channel-1")
    np.testing.assert_allclose(np.load(folder / "gradient.npy"), expected, rtol=1e-5, atol=1e-6)
    assert json.loads(Path("gradviz-out/run.json").read_text())["preprocess"]["bands"] == [4, 3, 2]
    assert gradviz("saliency", model, name, *options[2:], "-o", "mean").exit_code == 0
    drawn, gray = (
        np.asarray(Image.open(Path(out, name, "channel-1/overlay.png")))
        for out in ("gradviz-out", "mean")
    )
    assert drawn.shape == gray.shape == (9, 12, 3)
    assert (drawn != gray).any()


def test_one_band(gradviz: Gradviz, bands: np.ndarray) -> None:
    np.save("one.npy", bands[:1])
    model = script(convolution(1), "one.ts")
    assert gradviz("saliency", model, "one.npy").exit_code == 0
    assert np.load("gradviz-out/one.npy/ones/gradient.npy").shape == (1, 9, 12)
    Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save("photo.png")
    assert gradviz("saliency", model, "photo.png", "--channels", "gray", "-o", "b").exit_code == 0
    assert np.load("b/photo.png/ones/gradient.npy").shape == (1, 9, 12)


def test_a_band_that_is_not_there(gradviz: Gradviz, bands: np.ndarray) -> None:
    result = gradviz("saliency", script(convolution(5), "five.ts"), "scene.tif", "--bands", "6")
    failed(result, result.exit_code, "scene.tif: bands: there is no band 6", "--bands 1 to 5")
    assert result.exit_code in (2, 4)
