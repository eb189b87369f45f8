"""Sums of seeds: the array of a sum is the sum of the arrays, in every format and linear method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import gradviz as package
from gradviz.arrays import Doubles
from gradviz.backward.methods import METHODS
from tests.helpers import nets
from tests.helpers.formats import FORMATS, load, save

SUM = "pixel:2,3 - 0.5*region:1,1,6,4,1 + 0.25*ones"
PARTS = {"pixel:2,3": 1.0, "region:1,1,6,4,1": -0.5, "ones": 0.25}
LINEAR = ("gradient", "input-x-gradient", "smoothgrad", "integrated-gradients")
"""The methods that are linear in v."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    save(nets.dense(), torch.rand(1, 3, 12, 16), folder, *FORMATS)
    return folder


def arrays(folder: Path, name: str, method: str) -> tuple[Doubles, Doubles]:
    """The array of the sum, and the sum of the arrays of its terms."""
    torch.manual_seed(2)
    image = torch.rand(3, 12, 16)
    samples = None if METHODS[method].points == "image" else 4
    model = load(folder / name, "dense")
    found = package.saliency(model, image, [SUM, *PARTS], method=method, samples=samples)
    whole, *parts = (each.array.astype(np.float64) for each in found)
    total = np.zeros_like(whole)
    for factor, part in zip(PARTS.values(), parts, strict=True):
        total += factor * part
    return whole, total


@pytest.mark.parametrize("method", LINEAR)
@pytest.mark.parametrize("name", FORMATS)
def test_the_array_of_a_sum_is_the_sum_of_arrays(name: str, method: str, folder: Path) -> None:
    whole, total = arrays(folder, name, method)
    assert np.abs(whole).max() > 0
    assert np.abs(whole - total).max() <= 1e-6 * np.abs(whole).max()


@pytest.mark.parametrize("method", ["vargrad", "guided"])
def test_other_methods_take_the_summed_cotangent(method: str, folder: Path) -> None:
    """So their array of a sum is another than the sum of arrays."""
    whole, total = arrays(folder, "checkpoint.pt", method)
    assert np.abs(whole - total).max() > 1e-2 * np.abs(whole).max()
