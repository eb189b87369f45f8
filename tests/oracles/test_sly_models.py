"""Models that see where in an image they are, or how large it is: tiles are as the whole, or not
used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gradviz
from gradviz.commands.saliency import tiled
from gradviz.errors import UsageError
from tests.helpers import sly_nets as sly


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images count as large."""
    monkeypatch.setattr(tiled, "LEAST", 100)
    monkeypatch.setattr(tiled, "MANY", 1000)
    monkeypatch.setattr(tiled, "SIDE", 24)


@pytest.mark.parametrize("name", sly.NETS)
def test_none_is_wrong(name: str) -> None:
    torch.manual_seed(0)
    model = gradviz.wrap(sly.NETS[name](), precision="float64")
    for size in ((96, 112), (80, 81)):
        image = np.random.default_rng(0).random((3, *size), np.float32)
        found = []
        for seed in ("ones", "pixel:30,25", "pixel:0,0", "region:20,20,30,32"):
            (whole,) = gradviz.saliency(model, image, seed, tile="off")
            (auto,) = gradviz.saliency(model, image, seed, tile="auto")
            found.append(auto)
            assert (auto.tiles is None) == (auto.parts is None)
            assert auto.score == pytest.approx(whole.score, rel=1e-6)
            off = np.linalg.norm(auto.array - whole.array)
            assert off <= 1e-6 * np.linalg.norm(whole.array), (size, seed, auto.parts)
            try:
                (asked,) = gradviz.saliency(model, image, seed, tile=24)
            except UsageError as error:
                assert "leave out --tile" in str(error)
            else:
                assert np.linalg.norm(asked.array - whole.array) <= 1e-6 * np.linalg.norm(
                    whole.array
                )
        if name in sly.PROVED and size == (96, 112):
            assert {each.parts for each in found} == {"proved"}
