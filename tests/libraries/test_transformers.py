"""Folders of transformers: their gradients are those of the library's own models."""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gradviz as python
from gradviz.field.reach.extents import Untold
from gradviz.field.reach.follow import follow
from gradviz.model.load import load_model
from gradviz.model.model import Model
from tests.helpers.commands import Gradviz, document, failed, line
from tests.libraries.small_transformers import SMALL, Small

pytestmark = pytest.mark.transformers

Saved = Callable[[str], tuple[Path, Small]]


def gradient_of(model: Model, small: Small) -> Tensor:
    torch.manual_seed(1)
    x = torch.rand(1, 3, small.side, small.side).to(model.dtype).requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]


@pytest.mark.parametrize("name", SMALL)
def test_a_pass_without_numbers_leaves_the_first_one_with_numbers_alone(
    saved: Saved, name: str
) -> None:
    """The library hangs its hooks in the first pass, and marks the model as hooked."""
    folder, small = saved(name)
    first, second = (load_model(folder, output=small.output) for _ in range(2))
    with suppress(Untold):
        follow(first, 3, (small.side, small.side))
    assert torch.equal(gradient_of(first, small), gradient_of(second, small))


def test_fused_attention_has_the_field_of_attention_that_is_written_out(saved: Saved) -> None:
    """Windows of 4x4 patches: the library takes the fused operation by itself."""
    folder, small = saved("Swin")
    x = torch.rand(3, small.side, small.side)
    found = []
    for kind in ("sdpa", "eager"):
        model = load_model(folder)
        module: Any = model.module
        assert kind == "eager" or module.config._attn_implementation == kind
        module.set_attn_implementation(kind)
        place = "swin.encoder.layers.0.blocks.0.layernorm_after"
        (field,) = python.receptive_field(model, x, [(1, 1)], layer=place).fields
        found.append((field.structural.status, field.structural.mask, field.local))
    fused, written_out = found
    assert fused[0] == written_out[0] == "exact"
    for one, other in zip(fused[1:], written_out[1:], strict=True):
        assert one.sum() == 16 * 16 and np.array_equal(one, other)


def test_fields_of_a_model_that_takes_images_of_one_size(
    gradviz: Gradviz, saved: Saved, images: Path
) -> None:
    """It looks at no other size than the image's."""
    folder, _ = saved("ViT")
    place = "vit.layers.1.layernorm_before"
    given = [folder, images / "shapes_01.png", "--resize", "32x32", "--layer", place]
    (field,) = document(gradviz("receptive-field", *given, "--json"))["fields"]
    assert (field["status"], field["box"], field["area"]) == ("exact", [0, 0, 31, 31], 32 * 32)
    found = python.receptive_field(load_model(folder), torch.rand(3, 32, 32), layer=place)
    assert found.fields[0].local.all()


@pytest.mark.parametrize(
    "options",
    [{"max_shard_size": "10KB"}, {"state": "pytorch_model.bin"}, {"dtype": torch.float16}],
    ids=str,
)
def test_other_ways_to_keep_the_weights(
    saved: Saved, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Sharded, pickled, in half precision."""
    folder, small = saved("ViT")
    expected, tolerance = gradient_of(load_model(folder), small), 1e-6
    if "state" in options:
        shutil.copytree(folder, tmp_path / "vit")
        (tmp_path / "vit/model.safetensors").unlink()
        torch.save(small.model.state_dict(), tmp_path / "vit" / options["state"])
    elif "dtype" in options:
        copy.deepcopy(small.model).to(options["dtype"]).save_pretrained(tmp_path / "vit")
        tolerance = 1e-2
    else:
        small.model.save_pretrained(tmp_path / "vit", **options)
        assert len([*(tmp_path / "vit").glob("*.safetensors")]) > 2

    model = load_model(tmp_path / "vit")

    assert model.dtype is torch.float32
    got = gradient_of(model, small)
    assert (got - expected).norm() <= tolerance * expected.norm()


def test_a_card_names_the_folder_and_the_labels(saved: Saved, tmp_path: Path) -> None:
    folder, _ = saved("ViT")
    shutil.copytree(folder, tmp_path / "models/vit")
    (tmp_path / "card.yaml").write_text("model: models/vit\nlabels: [cat, dog]\n")
    model = load_model(tmp_path / "card.yaml")
    assert (model.labels, model.path) == (("cat", "dog"), tmp_path / "models/vit")


def test_labels_are_those_of_the_configuration(saved: Saved, tmp_path: Path) -> None:
    folder = shutil.copytree(saved("ViT")[0], tmp_path / "vit")
    assert load_model(folder).labels == ()  # LABEL_0 is no name
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["id2label"] = {"1": "Egyptian cat", "0": "tench\nTinca"}
    (folder / "config.json").write_text(json.dumps(config))
    assert load_model(folder).labels == ("tench Tinca", "Egyptian cat")


def test_a_snapshot_of_the_hub_s_cache(saved: Saved, tmp_path: Path) -> None:
    """Its files are links to blobs."""
    folder, small = saved("ViT")
    snapshot = tmp_path / "models--x--y/snapshots/0123"
    snapshot.mkdir(parents=True)
    blobs = shutil.copytree(folder, tmp_path / "models--x--y/blobs")
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    assert torch.equal(
        gradient_of(load_model(snapshot), small), gradient_of(load_model(folder), small)
    )


def test_a_changed_shard_is_another_model(saved: Saved, tmp_path: Path) -> None:
    saved("ViT")[1].model.save_pretrained(tmp_path, max_shard_size="10KB")
    before = load_model(tmp_path).sha256
    shard = max(tmp_path.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert load_model(tmp_path).sha256 != before


def test_the_checksum_is_that_of_a_shell(saved: Saved) -> None:
    folder, _ = saved("ViT")
    sums = "".join(
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("config.json", "model.safetensors")
    )
    assert load_model(folder).sha256 == hashlib.sha256(sums.encode()).hexdigest()


def test_a_detector_is_asked_for_its_best_box_and_its_logits_by_name(
    gradviz: Gradviz, saved: Saved
) -> None:

    folder, _ = saved("YOLOS")
    np.save("photo.npy", np.zeros((3, 32, 32), np.float32))
    words = ("saliency", folder, "photo.npy", "--view", "gray")
    result = gradviz(*words, "--box-score", 0)
    assert result.exit_code == 0 and line()["seed"] == "box:0", result.stderr
    assert "several outputs" not in result.stderr
    result = gradviz(*words, "--output", "logits", "-o", "logits")
    assert result.exit_code == 0, result.stderr
    assert "all numbers of the output [5, 3] are added up" in result.stderr
    assert "photo.npy/ones" in result.stdout
    result = gradviz("inspect", folder)
    assert "logits [1, 5, 3] detections of a detector" in result.stdout


def test_loading_leaves_the_surroundings_alone(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    load_model(saved("ViT")[0])
    assert constants.HF_HUB_OFFLINE is False
    assert "HF_HUB_OFFLINE" not in os.environ


def test_options_that_do_not_suit_a_folder(gradviz: Gradviz, saved: Saved, images: Path) -> None:
    result = gradviz(
        "saliency", saved("ViT")[0], images / "shapes_01.png", "--arch", "a:b", "--weights-key", "c"
    )
    failed(result, 2, "leave out --arch and --weights-key")


def test_a_missing_transformers_is_named(
    gradviz: Gradviz, saved: Saved, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = saved("ViT")
    monkeypatch.setitem(sys.modules, "transformers", None)
    result = gradviz("saliency", folder, images / "shapes_01.png")
    failed(result, 3, "transformers, which is not installed: pip install 'gradviz[transformers]'")


def test_a_broken_torchvision_is_named(
    gradviz: Gradviz, saved: Saved, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers imports it, and only says that its own module cannot be imported."""
    folder, _ = saved("ViT")
    transformers = importlib.import_module("transformers")

    def broken(module: object, name: str) -> None:
        try:
            raise RuntimeError("operator torchvision::nms does not exist")
        except RuntimeError as error:
            raise ModuleNotFoundError(f"Could not import module '{name}'.") from error

    monkeypatch.delattr(transformers, "ViTForImageClassification", raising=False)
    monkeypatch.setattr(type(transformers), "__getattr__", broken)
    result = gradviz("saliency", folder, images / "shapes_01.png")
    failed(result, 3, "torchvision::nms", "pip install --force-reinstall torch torchvision")
