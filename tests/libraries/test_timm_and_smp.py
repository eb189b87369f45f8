"""Folders of timm and segmentation_models_pytorch: their gradients are those of the libraries."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config, resolve_model_data_config
from torch import Tensor, nn

from gradviz.image.prepare import prepare
from gradviz.image.read import picture_of
from gradviz.model.load import load_model
from tests.helpers.commands import Gradviz, failed
from tests.libraries.conftest import randomise

pytestmark = [pytest.mark.timm, pytest.mark.usefixtures("no_network")]

FAMILIES = (
    "test_byobnet",
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_maxvit",
    "test_nfnet",
    "test_resnet",
    "test_vit",
    "test_vit_relpos",
    "mobilenetv3_small_050",
)
"""A small model of each of ten families."""

Saved = Callable[[str], tuple[Path, nn.Module]]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The folder of a model of timm by its name, and the model itself."""
    root = tmp_path_factory.mktemp("timm")

    @cache
    def save(name: str) -> tuple[Path, nn.Module]:
        net = timm.create_model(name, num_classes=3)
        randomise(net)
        timm.models.save_for_hf(net, root / name, model_config={"label_names": ["a", "b", "c"]})
        return root / name, net.eval()

    return save


def check_gradient(gradviz: Gradviz, folder: Path, net: nn.Module, photo: str, x: Tensor) -> None:
    """Compare the gradient of class 1, or of channel 1, with the one through `net`."""
    result = gradviz("saliency", folder, photo, "--seed", "class:1")
    assert result.exit_code == 0, result.stderr
    x = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(x)[:, 1].sum(), x)
    (file,) = Path("gradviz-out").rglob("gradient.npy")
    distance = np.linalg.norm(np.load(file) - expected[0].numpy())
    assert float(expected.norm()) > 0 and distance <= 1e-5 * float(expected.norm())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_is_that_of_timm_s_own_transform_and_model(
    gradviz: Gradviz, saved: Saved, name: str
) -> None:
    folder, net = saved(name)
    draws = np.random.default_rng(1)
    Image.fromarray(draws.integers(0, 256, (203, 251, 3), np.uint8)).save("photo.png")
    transform = create_transform(**resolve_model_data_config(net))
    x = transform(Image.open("photo.png"))[None]
    check_gradient(gradviz, folder, net, "photo.png", x)


@pytest.mark.transformers
def test_a_model_of_timm_that_transformers_wrapped(gradviz: Gradviz, tmp_path: Path) -> None:
    """It keeps names and preprocessing as timm does; the gradient is through timm's transform."""
    described = {"input_size": [3, 96, 96], "crop_pct": 0.9, "mean": [0.4] * 3, "std": [0.2] * 3}
    config = transformers.TimmWrapperConfig(
        architecture="test_resnet",
        pretrained_cfg=described,
        id2label={0: "tench", 1: "Egyptian cat"},
        initializer_range=0.02,
    )
    net = transformers.TimmWrapperForImageClassification(config).eval()
    randomise(net)
    net.save_pretrained(tmp_path / "net")
    assert load_model(tmp_path / "net").labels == ("tench", "Egyptian cat")
    draws = np.random.default_rng(1)
    Image.fromarray(draws.integers(0, 256, (203, 251, 3), np.uint8)).save("photo.png")
    transform = create_transform(**resolve_data_config(pretrained_cfg={"": None, **described}))
    x = transform(Image.open("photo.png"))[None]
    check_gradient(gradviz, tmp_path / "net", net.timm_model, "photo.png", x)


@pytest.mark.parametrize("kind", [smp.Unet, smp.FPN])
def test_the_gradient_is_that_of_segmentation_models_pytorch(
    gradviz: Gradviz, tmp_path: Path, kind: Any
) -> None:
    net = kind(encoder_name="mobilenet_v2", encoder_weights=None, classes=2).eval()
    net.save_pretrained(tmp_path / "net")
    # As they are in the folder of whoever trained from pretrained weights.
    edit(tmp_path / "net", {"encoder_weights": "imagenet"})
    x = torch.rand(1, 3, 64, 64)
    np.save("photo.npy", x[0].numpy())
    check_gradient(gradviz, tmp_path / "net", net, "photo.npy", x)


ELSEWHERE = {
    "mean": [100, 110, 120],
    "std": [1, 2, 3],
    "input_space": "BGR",
    "input_range": [0, 255],
}


@pytest.mark.parametrize(
    ("encoder", "weights"), [("tu-test_resnet", True), ("mobilenet_v2", "imagenet")]
)
def test_the_preprocessing_is_that_of_the_encoder_s_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str, weights: object
) -> None:
    """That of mobilenet_v2 lies in the cache of the Hub; without it, none is known."""
    net: Any = smp.FPN(encoder_name=encoder, encoder_weights=None, classes=2, encoder_depth=3)
    net.save_pretrained(tmp_path / "net")
    assert load_model(tmp_path / "net").preprocess is None
    edit(tmp_path / "net", {"encoder_weights": weights})
    if encoder == "mobilenet_v2":
        assert load_model(tmp_path / "net").preprocess is None
        (tmp_path / "cached.json").write_text(json.dumps(ELSEWHERE))
        here = str(tmp_path / "cached.json")
        monkeypatch.setattr(smp.encoders, "hf_hub_download", lambda *_, **__: here)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    expected = smp.encoders.get_preprocessing_fn(encoder, weights)(pixels).transpose(2, 0, 1)
    picture = picture_of(Image.fromarray(pixels))
    got = prepare(picture, load_model(tmp_path / "net").recipe()).tensor.numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def edit(folder: Path, changes: dict[str, object]) -> None:
    content = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(content | changes), "utf-8")


def test_labels_are_in_words_if_timm_has_words(saved: Saved, tmp_path: Path) -> None:
    folder = shutil.copytree(saved("test_resnet")[0], tmp_path / "net")
    assert load_model(folder).labels == ("a", "b", "c")
    edit(folder, {"label_descriptions": {"a": "tench", "c": "shark"}})
    assert load_model(folder).labels == ("tench", "b", "shark")


def test_labels_are_those_of_imagenet_if_the_weights_are_for_it(tmp_path: Path) -> None:
    """timm's tag says so, and the number of classes."""
    for count, tag, label in (
        (1000, "r160_in1k", "Egyptian cat"),
        (1000, "mine", None),
        (1001, "r160_in1k", None),
    ):
        net = timm.create_model("test_resnet", num_classes=count)
        timm.models.save_for_hf(net, tmp_path / "net")
        config = json.loads((tmp_path / "net/config.json").read_text("utf-8"))
        edit(tmp_path / "net", {"pretrained_cfg": config["pretrained_cfg"] | {"tag": tag}})
        labels = load_model(tmp_path / "net").labels
        assert (labels[285] if labels else None) == label


def test_a_folder_names_its_library_in_the_record(saved: Saved) -> None:
    model = load_model(saved("test_resnet")[0])
    assert model.code.packages == {"timm": timm.__version__}


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"architecture": "os.system"}, "'os.system', which this timm does not have"),
        ({"architecture": ["resnet18"]}, "which this timm does not have"),
        ({"architecture": "hf-hub:stranger/net"}, "which this timm does not have"),
        ({"architecture": "resnet18"}, "do not fit"),
        ({"pretrained_cfg": 3}, "to be mappings"),
        ({"model_args": ["depth"]}, "to be mappings"),
        ({"model_args": {"stem_width": "x"}}, "cannot build"),
        ({"model_args": {"num_classes": 5}}, "do not fit"),
        ({"model_args": {"num_classes": "many"}}, "cannot build"),
        ({"model_args": {"num_classes": 10**9}}, "model_args.num_classes is 1000000000"),
        ({"model_args": {"layers": [10**5] * 4}}, "elements, and its weights have"),
        ({"model_args": {"stem_width": 4000}}, "elements, and its weights have"),
    ],
)
def test_a_hostile_configuration_of_timm(
    gradviz: Gradviz, saved: Saved, tmp_path: Path, changes: dict[str, object], part: str
) -> None:
    folder = shutil.copytree(saved("test_resnet")[0], tmp_path / "net")
    edit(folder, changes)
    failed(gradviz("inspect", folder), 3, "net", part)


def test_a_configuration_of_timm_reads_no_other_files(saved: Saved, tmp_path: Path) -> None:
    """Arguments of its factory that name files are left out."""
    folder = shutil.copytree(saved("test_resnet")[0], tmp_path / "net")
    edit(folder, {"model_args": {"pretrained": True, "checkpoint_path": str(tmp_path / "other")}})
    assert load_model(folder).labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"_model_class": "os"}, "'os', which this"),
        ({"_model_class": "create_model"}, "which this"),
        ({"_model_class": None}, "which this"),
        ({"encoder_name": "nothing"}, "cannot build"),
        ({"classes": 5}, "do not fit"),
        ({"classes": {}}, "cannot build"),
        ({"decoder_pyramid_channels": 10**5}, "elements, and its weights have"),
    ],
)
def test_a_hostile_configuration_of_segmentation_models_pytorch(
    gradviz: Gradviz, tmp_path: Path, changes: dict[str, object], part: str
) -> None:
    net: Any = smp.FPN(encoder_name="mobilenet_v2", encoder_weights=None, classes=2)
    net.save_pretrained(tmp_path / "net")
    edit(tmp_path / "net", changes)
    failed(gradviz("inspect", tmp_path / "net"), 3, "net", part)
