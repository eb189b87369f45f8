"""Large images in tiles, by networks that are nearly made of windows: none may be wrong.

The short round tries one network of each trait at 1.1 million pixels; `make fuzz` tries all 32, and
2.1 million pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import gradviz
from gradviz.errors import UsageError
from tests.helpers import nearly_windowed_nets as nearly

LONG = os.environ.get("GRADVIZ_FUZZ", "short") == "long"
SIZES = ((1048, 1056), (1448, 1456)) if LONG else ((1048, 1056),)
"""Heights and widths. The larger one is cut into tiles unasked."""
CHOSEN = [*nearly.NETS] if LONG else [*nearly.NETS][:: len(nearly.BODIES) + 1]


def gradients(net: Callable[[], nn.Module], size: tuple[int, int]) -> list[np.ndarray]:
    """The gradient of the whole image, and those that were put together from tiles."""
    torch.manual_seed(0)
    model = gradviz.wrap(net())
    image = np.random.default_rng(0).random((3, *size), np.float32)
    (whole,) = gradviz.saliency(model, image, "ones", tile="off")
    found = [whole]
    try:
        found += gradviz.saliency(model, image, "ones", tile=384)
    except UsageError as error:
        assert "leave out --tile" in str(error)
    found += (each for each in gradviz.saliency(model, image, "ones") if each.tiles is not None)
    return [each.array for each in found]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", CHOSEN)
def test_tiles_are_never_wrong(name: str, size: tuple[int, int]) -> None:
    whole, *parts = gradients(nearly.NETS[name], size)
    assert whole.any()
    for array in parts:
        assert np.linalg.norm(array - whole) <= 1e-5 * np.linalg.norm(whole)


@pytest.mark.parametrize("name", [*nearly.BODIES] if LONG else [*nearly.BODIES][:2])
def test_without_their_trait_they_are_tiled(name: str) -> None:
    whole, *parts = gradients(nearly.BODIES[name], SIZES[0])
    assert len(parts) == 1
    assert np.linalg.norm(parts[0] - whole) <= 1e-5 * np.linalg.norm(whole)


def test_there_are_32_networks() -> None:
    assert len(nearly.NETS) == 32
