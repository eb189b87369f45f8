"""Folders that are damaged, or were made to run code: one line each, and nothing is fetched."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import Result

from tests.helpers.commands import Gradviz, failed
from tests.libraries.small_transformers import Small

pytestmark = [pytest.mark.transformers, pytest.mark.usefixtures("no_network")]

Saved = Callable[[str], tuple[Path, Small]]


@pytest.fixture
def folder(saved: Saved, tmp_path: Path) -> Path:
    """A folder of its own, which is whole."""
    return shutil.copytree(saved("ViT")[0], tmp_path / "vit")


@pytest.fixture
def sharded(saved: Saved, tmp_path: Path) -> Path:
    saved("ViT")[1].model.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len([*(tmp_path / "shards").glob("*.safetensors")]) > 2
    return tmp_path / "shards"


def edit(folder: Path, changes: dict[str, object], name: str = "config.json") -> None:
    content = json.loads((folder / name).read_text("utf-8"))
    (folder / name).write_text(json.dumps(content | changes), "utf-8")


def run(gradviz: Gradviz, folder: Path, *flags: str) -> Result:
    np.save("photo.npy", np.zeros((3, 32, 32), np.float32))
    return gradviz("saliency", folder, "photo.npy", "--seed", "class:0", "--view", "gray", *flags)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"architectures": 3}, "to be a list"),
        ({"architectures": []}, "to be a list"),
        ({"architectures": [["ViTModel"]]}, "to be a list"),
        ({"architectures": ["os.system"]}, "os.system, which this transformers does not have"),
        ({"architectures": ["BertTokenizer"]}, "BertTokenizer, which is no model"),
        ({"architectures": ["ViTConfig"]}, "ViTConfig, which is no model"),
        ({"architectures": ["AutoModel"]}, "AutoModel, which is no model"),
        ({"architectures": ["PreTrainedModel"]}, "PreTrainedModel, which is no model"),
        ({"architectures": ["pipeline"]}, "pipeline, which is no model"),
        ({"hidden_size": "wide"}, "cannot load it"),
        ({"hidden_size": [16]}, "cannot load it"),
        ({"image_size": None}, "cannot load it"),
        ({"num_attention_heads": 0}, "cannot load it"),
        ({"hidden_act": "os.system"}, "cannot load it"),
        ({"hidden_size": 32}, "do not fit"),
        ({"num_hidden_layers": 3}, "missing"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, which is no size"),
        ({"num_labels": [2, {"a": -(10**400)}]}, "num_labels.a is -1000000"),
        ({"num_hidden_layers": 10**5}, "a network of more than 20,000"),
        ({"hidden_size": 10**5, "intermediate_size": 10**5}, "elements, and its weights have"),
        ({"image_size": 10**5, "patch_size": 1}, "elements, and its weights have"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised"),
    ],
)
def test_a_configuration_of_wrong_types(
    gradviz: Gradviz, folder: Path, changes: dict[str, object], part: str
) -> None:
    edit(folder, changes)
    failed(run(gradviz, folder), 3, "vit", part)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "JSON"),
        ("[]", "expected a mapping"),
        ("[" * 100_000, "JSON"),
        ("{" + '"a": 1, ' * 1_000_000, "at most 8 MB"),
        ('{"model_type": "vit"}', "of no library"),
        ("\0" * 99, "JSON"),
    ],
)
def test_a_configuration_that_is_none(
    gradviz: Gradviz, folder: Path, content: str, part: str
) -> None:
    (folder / "config.json").write_text(content)
    failed(run(gradviz, folder), 3, "config.json", part)


def test_a_million_labels(gradviz: Gradviz, folder: Path) -> None:
    labels = ",".join(f'"{n}":"a"' for n in range(1_000_000))
    config = (folder / "config.json").read_text("utf-8")
    (folder / "config.json").write_text(config.replace("{", f'{{"id2label":{{{labels}}},', 1))
    failed(run(gradviz, folder), 3, "config.json", "at most 8 MB")


@pytest.mark.parametrize(
    "labels", [{str(n): "a" for n in range(100_000)}, {"0": 1, "1": 2}, {"1": "a", "2": "b"}]
)
def test_labels_that_are_no_list_of_names(
    gradviz: Gradviz, folder: Path, labels: dict[str, object]
) -> None:
    edit(folder, {"id2label": labels, "num_labels": 2})
    result = run(gradviz, folder)
    if result.exit_code:  # transformers itself makes as many scores as there are labels
        failed(result, 3, "vit")
    else:
        assert "id2label" in result.stderr and "ignored" in result.stderr


# Where files lead ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", "..", "out/../.."])
def test_an_index_that_leads_out(gradviz: Gradviz, sharded: Path, name: str) -> None:
    Path("../secret.safetensors").resolve().write_bytes(b"")
    index = json.loads((sharded / "model.safetensors.index.json").read_text("utf-8"))
    names = dict.fromkeys(index["weight_map"], name)
    edit(sharded, {"weight_map": names}, "model.safetensors.index.json")
    result = run(gradviz, sharded)
    assert result.exit_code == 3 and len(result.stderr.splitlines()) == 1, result.stderr
    assert "leads out" in result.stderr or "missing" in result.stderr


@pytest.mark.parametrize("names", [None, [], {}, {"a": 1}, "model.safetensors"])
def test_an_index_of_wrong_types(gradviz: Gradviz, sharded: Path, names: object) -> None:
    edit(sharded, {"weight_map": names}, "model.safetensors.index.json")
    failed(run(gradviz, sharded), 3, "weight_map")


def test_a_shard_that_is_missing(gradviz: Gradviz, sharded: Path) -> None:
    gone = sorted(sharded.glob("*.safetensors"))[1]
    gone.unlink()
    failed(run(gradviz, sharded), 3, gone.name, "missing", "download")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_that_leads_out(gradviz: Gradviz, folder: Path, tmp_path: Path, name: str) -> None:
    shutil.move(folder / name, tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    failed(run(gradviz, folder), 3, name, "leads out of the folder")


def test_a_link_to_a_device(gradviz: Gradviz, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/dev/zero")
    failed(run(gradviz, folder), 3, "model.safetensors", "leads out")


def test_a_pipe(gradviz: Gradviz, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    failed(run(gradviz, folder), 3, "model.safetensors", "no regular file")


def test_weights_that_are_cut_short(gradviz: Gradviz, folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    failed(run(gradviz, folder), 3, "vit")


def test_no_weights(gradviz: Gradviz, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    failed(run(gradviz, folder), 3, "no weights", "model.safetensors")


# Code ---------------------------------------------------------------------------------------------

OWN = """
from pathlib import Path

Path("ran").touch()

from transformers import ViTConfig, ViTForImageClassification


class OwnNet(ViTForImageClassification):
    config_class = ViTConfig
"""


def test_code_of_the_folder_runs_only_with_trust(gradviz: Gradviz, folder: Path) -> None:
    (folder / "own_net.py").write_text(OWN)
    edit(folder, {"architectures": ["OwnNet"], "auto_map": {"AutoModel": "own_net.OwnNet"}})
    failed(run(gradviz, folder), 5, "OwnNet", "own_net", "--trust")
    assert not Path("ran").exists()
    assert run(gradviz, folder, "--trust").exit_code == 0
    assert Path("ran").exists()
    assert "needs --trust" in gradviz("inspect", folder, "--trust").stdout


def test_code_of_another_place_is_never_fetched(gradviz: Gradviz, folder: Path) -> None:
    place = "stranger/repository--own_net.OwnNet"
    edit(folder, {"architectures": ["OwnNet"], "auto_map": {"AutoModel": place}})
    failed(run(gradviz, folder), 5, "--trust")
    failed(run(gradviz, folder, "--trust"), 3, "stranger/repository", "another place")


def test_code_beside_a_class_of_transformers_is_ignored(gradviz: Gradviz, folder: Path) -> None:
    (folder / "own_net.py").write_text(OWN)
    name = "ViTForImageClassification"
    edit(folder, {"auto_map": {"AutoModelForImageClassification": f"own_net.{name}"}})
    assert run(gradviz, folder, "--trust").exit_code == 0
    assert not Path("ran").exists()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def test_a_pickle_that_would_run(gradviz: Gradviz, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Evil()}, folder / "pytorch_model.bin", pickle_module=pickle)
    failed(run(gradviz, folder), 5, "pytorch_model.bin", "mkdir", "--trust")
    assert not Path("ran").exists()
