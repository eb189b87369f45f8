"""Explainers that share a memory find what fresh ones find."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gradviz
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.memory import Memory
from gradviz.commands.saliency.result import Attribution
from gradviz.commands.saliency.settings import Settings
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.model.model import Model
from gradviz.seeds.seed import parse_seed
from tests.helpers.nets import dense

QUESTIONS = [
    *({"seed": "pixel:2,3"}, {"seed": "ones"}, {"method": "gradcam"}, {"layer": "first"}),
    *({"method": "guided"}, {"method": "lrp"}, {"method": "gradcam", "layer": "second"}),
    *({"method": "smoothgrad"}, {"seed": "top"}, {"method": "input-x-gradient"}),
]


def loaded(seed: int) -> LoadedImage:
    pixels = np.random.default_rng(seed).random((3, 12, 16), np.float32)
    return LoadedImage(str(seed), prepare(Picture(pixels, "array"), Preprocess()))


def found(model: Model, image: LoadedImage, memory: Memory | None, **asked: str) -> np.ndarray:
    seed = parse_seed(asked.pop("seed", "pixel:4,1,1"))
    settings = Settings(method=asked.get("method", "gradient"), layer=asked.get("layer"))
    (outcome,) = Explainer(model, settings, memory=memory).outcomes([image], [seed])
    assert isinstance(outcome, Attribution)
    return outcome.array


@pytest.mark.parametrize("largest", [0, 12 * 16])
def test_questions_in_any_order_are_answered_as_alone(largest: int) -> None:
    model, memory = gradviz.wrap(dense()), Memory(largest)
    images = [loaded(0), loaded(1)]
    for place in torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist():
        image, asked = images[place % 2], QUESTIONS[place // 2 % len(QUESTIONS)]
        expected = found(model, image, None, **asked)
        assert found(model, image, memory, **asked).tobytes() == expected.tobytes(), asked


def test_a_pass_is_run_once_for_several_questions() -> None:
    model, memory, image = gradviz.wrap(dense()), Memory(12 * 16), loaded(0)
    explainer = Explainer(model, Settings(), memory=memory)
    list(explainer.outcomes([image], [parse_seed("ones")]))
    runs = list[torch.Tensor]()
    model.module.register_forward_pre_hook(
        lambda module, inputs: runs.extend(x for x in inputs if not x.is_meta)
    )
    for seed in ("pixel:1,1", "pixel:7,5", "ones"):
        list(explainer.outcomes([image], [parse_seed(seed)]))
    assert not runs
    memory.forget()
    list(explainer.outcomes([image], [parse_seed("ones")]))
    assert len(runs) == 1


def test_a_large_image_keeps_no_pass() -> None:
    model, memory, image = gradviz.wrap(dense()), Memory(12 * 16 - 1), loaded(0)
    found(model, image, memory)
    assert memory._forward is None
