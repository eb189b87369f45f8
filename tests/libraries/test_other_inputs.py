"""Models of transformers that take more than the image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as t
from torch import Tensor

from tests.helpers.commands import Gradviz, failed, lines
from tests.libraries.conftest import randomise
from tests.libraries.small_transformers import TRANSFORMER

pytestmark = pytest.mark.transformers


def clip() -> Any:
    """A model whose image is its second argument, after the text."""
    text = {k: v for k, v in TRANSFORMER.items() if "size" not in k or k == "hidden_size"}
    text |= {"vocab_size": 30, "max_position_embeddings": 8, "intermediate_size": 24}
    ends = {"eos_token_id": 29, "bos_token_id": 28, "pad_token_id": 1}
    return t.CLIPModel(
        t.CLIPConfig(text_config=text | ends, vision_config=TRANSFORMER, projection_dim=8)
    )


MASK = torch.arange(16) % 3 == 0
TOKENS = torch.tensor([28, 5, 7, 29])
MODELS: dict[str, tuple[Callable[[], Any], dict[str, Tensor], str]] = {
    "masked": (
        lambda: t.ViTForMaskedImageModeling(t.ViTConfig(**TRANSFORMER, encoder_stride=8)),
        {"bool_masked_pos": MASK},
        "reconstruction",
    ),
    "clip": (clip, {"input_ids": TOKENS}, "logits_per_image"),
}
"""A model, its other inputs, and the output that is asked about."""


def saved(name: str, folder: Path) -> tuple[Any, dict[str, Tensor], str]:
    make, others, output = MODELS[name]
    model = make()
    randomise(model)
    model.eval().save_pretrained(folder / name)
    for key, value in others.items():
        np.save(folder / f"{key}.npy", value.numpy())
    return model, others, output


@pytest.mark.parametrize("name, batch_size", [("masked", 2), ("clip", 1)])
def test_the_gradient_is_that_of_the_library_s_own_model(
    gradviz: Gradviz, tmp_path: Path, name: str, batch_size: int
) -> None:
    model, others, output = saved(name, tmp_path)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for n, image in enumerate(images):
        np.save(tmp_path / f"{n}.npy", image.numpy())
    given = [word for key in others for word in ("--input", f"{key}={key}.npy")]
    result = gradviz(
        *("saliency", name, "0.npy", "1.npy", "2.npy", *given, "--output", output),
        *("--seed", "ones", "--batch-size", batch_size),
    )
    assert result.exit_code == 0, result.stderr
    for n, image in enumerate(images):
        x = image[None].requires_grad_()
        y = model(pixel_values=x, **{key: value[None] for key, value in others.items()})[output]
        (expected,) = torch.autograd.grad(y.sum(), x)
        (file,) = (tmp_path / "gradviz-out" / f"{n}.npy").rglob("gradient.npy")
        distance = np.linalg.norm(np.load(file) - expected[0].numpy())
        assert float(expected.norm()) > 0
        assert distance <= 1e-5 * float(expected.norm())


def test_texts_that_are_repeated_with_the_images_are_warned_of(
    gradviz: Gradviz, tmp_path: Path
) -> None:
    """CLIP compares each image with the text of each, so that the output grows with the batch."""
    saved("clip", tmp_path)
    draws = np.random.default_rng(0)
    for n in range(2):
        np.save(tmp_path / f"{n}.npy", draws.random((3, 32, 32), np.float32))
    given = ["saliency", "clip", "0.npy", "1.npy", "--output", "logits_per_image"]
    result = gradviz(*given, "--input", "input_ids=input_ids.npy", "--seed", "ones")
    assert result.exit_code == 0, result.stderr
    assert all("compare with --batch-size 1" in each["warnings"][0] for each in lines())


def test_what_has_no_gradient_or_is_missing_is_told(gradviz: Gradviz, tmp_path: Path) -> None:
    saved("clip", tmp_path)
    np.save(tmp_path / "photo.npy", np.random.default_rng(0).random((3, 32, 32), np.float32))
    given = ["saliency", "clip", "photo.npy", "--output", "logits_per_image"]
    wrt = gradviz(*given, "--input", "input_ids=input_ids.npy", "--wrt", "input_ids")
    failed(wrt, 2, "--wrt input_ids", "int64")
    failed(gradviz(*given, "--input", "ids=input_ids.npy"), 2, "no such input", "input_ids")
    failed(gradviz(*given), 3, "--input NAME=FILE")
