"""A device with too little memory: smaller batches, and advice where one image is too much."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.result import Attribution, Outcome
from gradviz.commands.saliency.run import cut, outcomes
from gradviz.commands.saliency.settings import Settings
from gradviz.errors import MemoryShort
from gradviz.image.find import find_images
from gradviz.image.preprocess import Preprocess
from gradviz.model.load import wrap
from gradviz.runs.results import Failure
from gradviz.seeds.seed import parse_seed


class Small(torch.autograd.Function):
    """The identity, on a device that runs out of memory in the backward pass."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        Limited.backwards.append(len(gradient))
        if len(gradient) > Limited.at_once:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return gradient


class Limited(nn.Module):
    """Fits so many images at once, forward or backward."""

    at_once = 2
    forwards: ClassVar[list[int]] = []
    backwards: ClassVar[list[int]] = []

    def __init__(self, backward: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backward_too = backward
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        Limited.forwards.append(len(x))
        if not self.backward_too and len(x) > Limited.at_once:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        y: Tensor = self.conv(x)
        return Small.apply(y) if self.backward_too else y  # type: ignore[no-untyped-call]


def found(folder: Path, backward: bool, at_once: int) -> list[Outcome]:
    Limited.at_once = at_once
    Limited.forwards.clear()
    Limited.backwards.clear()
    rng = np.random.default_rng(0)
    for n in range(5):
        np.save(folder / f"{n}.npy", rng.random((3, 8, 8), np.float32))
    model = wrap(Limited(backward))
    settings = Settings(batch_size=5)
    sources = find_images([f"{folder}/*.npy"], folder / "out").sources
    seeds = [parse_seed(spec) for spec in ("ones", "pixel:1,1")]
    return list(outcomes(Explainer(model, settings), cut(sources, 5), Preprocess(), seeds))


@pytest.mark.parametrize("backward", [False, True])
def test_batches_are_halved_until_they_fit(tmp_path: Path, backward: bool) -> None:
    whole = found(tmp_path, backward, 5)
    halved = found(tmp_path, backward, 2)
    assert (Limited.backwards if backward else Limited.forwards)[:2] == [5, 3]
    key = {(each.image, each.seed): each for each in whole if isinstance(each, Attribution)}
    assert len(key) == len(halved) == 10
    for each in halved:
        assert isinstance(each, Attribution)
        assert any("memory was short" in note for note in each.warnings)
        np.testing.assert_allclose(each.array, key[each.image, each.seed].array, rtol=1e-6)
    assert not any(note for each in key.values() for note in each.warnings)


@pytest.mark.parametrize("backward", [False, True])
def test_one_image_too_large_fails_with_advice(tmp_path: Path, backward: bool) -> None:
    results = found(tmp_path, backward, 0)
    assert len(results) == 10
    for each in results:
        assert isinstance(each, Failure) and isinstance(each.error, MemoryShort)
        assert each.error.exit_code == 3
        assert "--tile" in str(each.error) and "--precision" in str(each.error)
