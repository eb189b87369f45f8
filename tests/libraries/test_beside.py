"""The preprocessing beside the weights: tensors are those of the library's own processor."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from gradviz.errors import GradvizError
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import read_image
from gradviz.model.formats.opened import Beside
from gradviz.model.libraries.contents import Folder
from gradviz.model.libraries.presets import recipe_of_timm
from gradviz.model.libraries.processors import recipe_beside, recipe_of
from gradviz.model.load import load_model
from gradviz.model.recipes import recipe_named
from tests.helpers.commands import Gradviz, failed
from tests.libraries.conftest import randomise
from tests.libraries.photos import make_photos, rgb, upright
from tests.libraries.small_transformers import SMALL, Small

Saved = Callable[[str], tuple[Path, Small]]

SMALLER = {"shortest_edge": 100, "longest_edge": 150}

PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViT", {}),
    "ViT, nearest and not normalised": ("ViT", {"resample": 0, "do_normalize": False}),
    "ViT, as it is": ("ViT", {"do_resize": False, "do_rescale": False, "do_normalize": False}),
    "DeiT": ("DeiT", {}),
    "BEiT": ("Beit", {"do_center_crop": True, "size": {"height": 99, "width": 333}}),
    "ConvNeXt": ("ConvNext", {}),
    "ConvNeXt, cropped": ("ConvNext", {"size": {"shortest_edge": 128}, "crop_pct": 0.9}),
    "DPT": ("DPT", {}),
    "Depth-Anything": (
        "DPT",
        {
            "size": {"height": 140, "width": 140},
            "keep_aspect_ratio": True,
            "ensure_multiple_of": 14,
        },
    ),
    "DPT, padded": ("DPT", {"do_resize": False, "do_pad": True, "size_divisor": 14}),
    "SegFormer": ("Segformer", {"do_reduce_labels": True}),
    "GLPN": ("GLPN", {}),
    "ZoeDepth": ("ZoeDepth", {}),
    "DETR": ("Detr", {"size": SMALLER}),
    "DETR, padded": ("Detr", {"size": SMALLER, "pad_size": {"height": 160, "width": 170}}),
    "RT-DETR": ("RTDetr", {}),
    "YOLOS": ("Yolos", {"size": SMALLER}),
    "MobileNetV2": ("MobileNetV2", {}),
    "EfficientNet": ("EfficientNet", {}),
    "EfficientNet, offset": (
        "EfficientNet",
        {"rescale_factor": 1 / 127.5, "rescale_offset": True, "include_top": False},
    ),
    "EfficientNet, top alone": ("EfficientNet", {"do_normalize": False}),
    "DINOv2": ("Bit", {"size": {"shortest_edge": 256}}),
    "CLIP": ("CLIP", {}),
    "SigLIP": ("Siglip", {"image_mean": 0.5}),
    "in a box": ("ViT", {"size": {"max_height": 90, "max_width": 120}}),
    "MobileViT": ("MobileViT", {}),
}
"""Processors of transformers, and what a folder says differently from the class."""

OWN = {"ZoeDepth", "MobileViT"}
"""Those that no recipe can follow."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_photos(tmp_path_factory.mktemp("photos"))


def beside(folder: Path) -> Beside:
    return recipe_beside(transformers, Folder(folder, {}, (), 0, ""))


def recipe_in(folder: Path) -> Preprocess:
    found = beside(folder)
    assert found.recipe is not None, found.problem
    return found.recipe


def compare(recipe: Preprocess, photos: list[Path], theirs: Callable[[Path], Any]) -> None:
    for photo in photos:
        expected = np.asarray(theirs(photo))
        got = prepare(read_image(photo), recipe).tensor.numpy()
        assert got.shape == expected.shape, photo.name
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6, err_msg=photo.name)


@pytest.mark.transformers
@pytest.mark.parametrize("name", PROCESSORS)
def test_tensors_are_those_of_the_processor(photos: list[Path], tmp_path: Path, name: str) -> None:
    kind, settings = PROCESSORS[name]
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**settings, do_convert_rgb=True)
    processor.save_pretrained(tmp_path)
    recipe = recipe_in(tmp_path)
    assert (recipe.processor is not None) == (kind in OWN)
    compare(recipe, photos, lambda photo: processor(upright(photo))["pixel_values"][0])


@pytest.mark.transformers
@pytest.mark.parametrize(
    ("written", "processor"),
    [
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 64}, "ViT"),
        ({"image_processor_type": "CLIPImageProcessorFast", "size": 64, "crop_size": 48}, "CLIP"),
        ({"feature_extractor_type": "DetrFeatureExtractor", "size": 90, "max_size": 120}, "Detr"),
        ({"image_processor_type": "BitImageProcessor", "unheard_of": [1, 2]}, "Bit"),
    ],
)
def test_old_files_that_leave_most_out(
    photos: list[Path], tmp_path: Path, written: dict[str, Any], processor: str
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
    settings = {key: value for key, value in written.items() if not key.endswith("_type")}
    library = getattr(transformers, f"{processor}ImageProcessorPil")(
        **settings, do_convert_rgb=True
    )
    compare(recipe_in(tmp_path), photos, lambda p: library(upright(p))["pixel_values"][0])


@pytest.mark.transformers
def test_a_part_of_a_processor_wins_over_a_file_of_its_own(tmp_path: Path) -> None:
    def vit(side: int) -> dict[str, Any]:
        return {"image_processor_type": "ViTImageProcessor", "size": side}

    plain, nested = tmp_path / "preprocessor_config.json", tmp_path / "processor_config.json"
    plain.write_text(json.dumps(vit(64)))
    nested.write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    assert (recipe_in(tmp_path).resize, beside(tmp_path).origin) == ((64, 64), str(plain))
    nested.write_text(json.dumps({"image_processor": vit(32)}))
    assert (recipe_in(tmp_path).resize, beside(tmp_path).origin) == ((32, 32), str(nested))


VIT = '{"image_processor_type": "ViTImageProcessor", '

HOSTILE = {
    "no mapping": "[1, 2]",
    "no JSON": "{",
    "deep": "[" * 100_000,
    "a million keys": "{" + ",".join(f'"k{n}": {n}' for n in range(1_000_000)) + "}",
    "no class": '{"image_processor_type": "Nothing"}',
    "a number for a class": '{"image_processor_type": 7}',
    "a model for a class": '{"image_processor_type": "ViTModel"}',
    "code of the folder": '{"auto_map": {"AutoImageProcessor": "evil.Evil"}}',
    "NaN": VIT + '"image_mean": [NaN, 0, 0]}',
    "infinity": VIT + '"rescale_factor": Infinity}',
    "a huge number": VIT + '"rescale_factor": 1e400}',
    "text for a number": VIT + '"rescale_factor": "1"}',
    "text for truth": VIT + '"do_resize": "no"}',
    "text for a size": VIT + '"size": {"height": "a", "width": "b"}}',
    "a negative size": VIT + '"size": {"height": -5, "width": 4}}',
    "a huge size for a processor of its own": (
        '{"image_processor_type": "ZoeDepthImageProcessor", '
        '"size": {"height": 1000000, "width": 1000000}}'
    ),
    "a list for a filter": VIT + '"resample": [1]}',
    "a divisor of zero": VIT + '"image_std": [0, 0, 0]}',
    "a name of the class": VIT + '"__class__": 5}',
    "its own machinery": VIT + '"valid_kwargs": 5}',
}


@pytest.mark.transformers
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    (tmp_path / "preprocessor_config.json").write_text(HOSTILE[name])
    found = beside(tmp_path)
    assert found.recipe is None
    assert found.problem is not None
    assert str(tmp_path / "preprocessor_config.json") in found.problem
    assert "\n" not in found.problem
    assert len(found.problem) < 600


@pytest.mark.transformers
def test_a_huge_size_is_refused_at_the_first_photo(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(VIT + '"size": 1000000000}')
    with pytest.raises(GradvizError, match="expected at most 200000000 pixels"):
        prepare(read_image(photos[0]), recipe_in(tmp_path))


def square(side: int) -> dict[str, Any]:
    return {"size": {"height": side, "width": side}}


def cropped(side: int) -> dict[str, Any]:
    crop = {"height": side, "width": side}
    return {"size": {"shortest_edge": side + 6}, "crop_size": crop, "do_center_crop": True}


BESIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViT", square(32)),
    "DeiT": ("DeiT", square(36) | {"crop_size": {"height": 32, "width": 32}}),
    "BEiT": ("Beit", square(32)),
    "DINOv2": ("Bit", cropped(42)),
    "Swin": ("ViT", square(32)),
    "ConvNeXt": ("ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}),
    "ResNet": ("ConvNext", {"size": {"shortest_edge": 64}, "crop_pct": 0.9}),
    "MobileNetV2": ("MobileNetV2", cropped(32)),
    "EfficientNet": ("EfficientNet", square(32)),
    "SegFormer": ("Segformer", square(64)),
    "DPT": ("DPT", square(32)),
    "Depth-Anything": (
        "DPT",
        square(42) | {"keep_aspect_ratio": True, "ensure_multiple_of": 14, "resample": 3},
    ),
    "GLPN": ("GLPN", {"size_divisor": 32}),
    "ZoeDepth": ("ZoeDepth", square(32)),
    "DETR": ("Detr", {"size": SMALLER}),
    "YOLOS": ("Yolos", {"size": SMALLER}),
}
"""The processor in the folder of each small model."""


@pytest.mark.transformers
@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_is_that_of_the_library_s_processor_and_model(
    gradviz: Gradviz, saved: Saved, photos: list[Path], tmp_path: Path, name: str
) -> None:
    """No flag is needed but the seed. The library's model uses its own attention."""
    folder, small = saved(name)
    shutil.copytree(folder, tmp_path / "model")
    kind, settings = BESIDE[name]
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**settings, do_convert_rgb=True)
    processor.save_pretrained(tmp_path / "model")
    x = processor(upright(photos[3]), return_tensors="pt")["pixel_values"]
    x.requires_grad_()
    y = copy.deepcopy(small.model)(pixel_values=x)[small.output]
    seed, score = ("class:1", y[:, 1]) if y.dim() == 2 else ("ones", y)
    (expected,) = torch.autograd.grad(score.sum(), x)

    # Of detections, `ones` would be the sum of the scores of those that are kept.
    output = ("--output", small.output) if name in ("DETR", "YOLOS") else ()
    result = gradviz("saliency", "model", photos[3], "--seed", seed, *output)

    assert result.exit_code == 0, result.stderr
    assert "preprocessing" not in result.stderr
    (file,) = (tmp_path / "gradviz-out").rglob("gradient.npy")
    distance = np.linalg.norm(np.load(file) - expected[0].numpy())
    assert float(expected.norm()) > 0
    assert distance <= 1e-5 * float(expected.norm())


@pytest.mark.transformers
@pytest.mark.parametrize(
    "options", [["--seed", "at:3,3"], ["--frame", "image"], ["--resize", "20"]]
)
def test_what_a_processor_of_its_own_cannot_do(
    gradviz: Gradviz, saved: Saved, photos: list[Path], tmp_path: Path, options: list[str]
) -> None:
    _, small = saved("ZoeDepth")
    small.model.save_pretrained(tmp_path / "model")
    transformers.ZoeDepthImageProcessorPil().save_pretrained(tmp_path / "model")
    result = gradviz("saliency", "model", photos[0], *options)
    failed(result, 2, "ZoeDepthImageProcessor makes the tensor by itself")
    assert not (tmp_path / "gradviz-out").exists()


@pytest.mark.transformers
def test_precedence(gradviz: Gradviz, saved: Saved, photos: list[Path], tmp_path: Path) -> None:
    _, small = saved("ViT")
    folder = tmp_path / "model"
    small.model.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessorPil(size=size).save_pretrained(folder)
    (tmp_path / "card.yaml").write_text("model: model\npreprocess: {resize: 32x32, mean: [0.1]}")

    def run(model: str, *options: str) -> tuple[dict[str, Any], dict[str, str]]:
        result = gradviz("saliency", model, photos[2], *options, "-v", "--overwrite")
        assert result.exit_code == 0, result.stderr
        record = json.loads((tmp_path / "gradviz-out" / "run.json").read_text())
        assert f"preprocess_from: {json.dumps(record['preprocess_from'])}" in result.stderr
        return record["preprocess"], record["preprocess_from"]

    file = "model/preprocessor_config.json"
    steps, origins = run("model", "--range", "0,2")
    assert (steps["mean"], steps["range"], steps["levels"]) == ([0.5] * 3, [0, 2], "bytes")
    assert (origins["mean"], origins["range"]) == (file, "the command line")
    assert "crop" not in origins
    steps, origins = run("model", "--preprocess", "imagenet", "--resize", "32", "--crop", "32")
    assert (steps["mean"][0], steps["levels"]) == (0.485, "float")
    assert (origins["mean"], origins["resize"]) == ("--preprocess imagenet", "the command line")


@pytest.mark.transformers
def test_a_card_wins_over_what_lies_beside_the_weights(saved: Saved, tmp_path: Path) -> None:
    _, small = saved("ViT")
    small.model.save_pretrained(tmp_path / "model")
    transformers.ViTImageProcessorPil().save_pretrained(tmp_path / "model")
    card = tmp_path / "card.yaml"
    card.write_text("model: model\npreprocess: {resize: 32x32}")
    assert load_model(card).recipe() == Preprocess(resize=(32, 32))
    card.write_text("model: model\noutput: logits")
    assert load_model(card).recipe().mean == (0.5, 0.5, 0.5)


@pytest.mark.transformers
def test_what_cannot_be_followed_ends_only_without_a_recipe(
    gradviz: Gradviz, saved: Saved, photos: list[Path], tmp_path: Path
) -> None:
    _, small = saved("ViT")
    small.model.save_pretrained(tmp_path / "model")
    (tmp_path / "model/preprocessor_config.json").write_text(HOSTILE["NaN"])
    failed(gradviz("saliency", "model", photos[2]), 2, "mean: expected", "--preprocess")
    recipe = ["--preprocess", "none", "--resize", "32x32"]
    assert gradviz("saliency", "model", photos[2], *recipe).exit_code == 0


# timm and torchvision -----------------------------------------------------------------------------

FAMILIES = [
    "resnet18",
    "vit_tiny_patch16_224",
    "convnext_atto",
    "efficientnet_b0",
    "swin_tiny_patch4_window7_224",
    "mobilenetv3_small_050",
    "regnetx_002",
    "densenet121",
    "mixer_s32_224",
    "beit_base_patch16_224",
    "deit_tiny_patch16_224",
    "levit_128s",
    "inception_v3",
    "efficientnetv2_rw_t",
    "nfnet_l0",
]
"""Models of timm with different images: sizes, shares, filters and statistics."""


@pytest.mark.timm
@pytest.mark.parametrize("name", FAMILIES)
def test_names_of_timm(photos: list[Path], name: str) -> None:
    import timm
    from timm.data import create_transform, resolve_data_config

    described = timm.get_pretrained_cfg(name).to_dict()
    transform = create_transform(**resolve_data_config(pretrained_cfg=described))
    compare(recipe_named(f"timm:{name}"), photos, lambda photo: transform(rgb(photo)))


@pytest.mark.timm
@pytest.mark.parametrize(
    "described",
    [
        {},
        {"input_size": [3, 96, 160], "crop_pct": 0.8},
        {"input_size": [3, 96, 160], "crop_mode": "squash", "interpolation": "bilinear"},
        {"input_size": [3, 96, 160], "crop_mode": "border", "mean": [0.2, 0.3, 0.4]},
        {"crop_pct": 1.0, "std": [1, 2, 3]},
    ],
)
def test_descriptions_of_timm(photos: list[Path], described: dict[str, Any]) -> None:
    from timm.data import create_transform, resolve_data_config

    config = resolve_data_config(pretrained_cfg={"label": "x", **described})
    transform = create_transform(**config)
    compare(recipe_of_timm(described, "test"), photos, lambda photo: transform(rgb(photo)))


@pytest.mark.timm
@pytest.mark.parametrize(
    "described",
    [
        {"input_size": 5},
        {"input_size": [3, "a", 4]},
        {"crop_pct": float("nan")},
        {"crop_pct": 1e9},
        {"mean": "x", "crop_mode": "border"},
        {"std": [0, 0, 0]},
        {"interpolation": "magic"},
    ],
)
def test_wrong_descriptions_of_timm_are_one_line(described: dict[str, Any]) -> None:
    with pytest.raises(GradvizError, match="folder: ") as caught:
        recipe_of_timm(described, "folder")
    assert "\n" not in str(caught.value)


@pytest.mark.timm
def test_a_folder_of_timm_has_its_preprocessing(photos: list[Path], tmp_path: Path) -> None:
    import timm
    from timm.data import create_transform, resolve_model_data_config
    from timm.models import save_for_hf

    network = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    randomise(network)
    save_for_hf(network, tmp_path)
    transform = create_transform(**resolve_model_data_config(network))
    model = load_model(tmp_path)
    assert model.preprocess_origin == f"{tmp_path}/config.json"
    compare(model.recipe(), photos, lambda photo: transform(rgb(photo)))


PRESETS = [
    "ResNet50_Weights.IMAGENET1K_V1",
    "ResNet50_Weights.IMAGENET1K_V2",
    "ViT_B_16_Weights.DEFAULT",
    "Inception_V3_Weights.DEFAULT",
    "EfficientNet_B3_Weights.DEFAULT",
    "Swin_T_Weights.DEFAULT",
    "DeepLabV3_ResNet50_Weights.DEFAULT",
    "FasterRCNN_ResNet50_FPN_Weights.DEFAULT",
]


@pytest.mark.timm
@pytest.mark.parametrize("name", PRESETS)
def test_presets_of_torchvision(photos: list[Path], name: str) -> None:
    from torchvision.models import get_weight

    preset = get_weight(name).transforms()
    compare(recipe_named(f"torchvision:{name}"), photos, lambda photo: preset(rgb(photo)))


@pytest.mark.timm
@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "torchvision:ResNet50_Weights.IMAGENET1K_V3",
            "one of ResNet50_Weights.IMAGENET1K_V1",
        ),
        ("torchvision:ResNet5_Weights.IMAGENET1K_V1", "ResNet50_Weights"),
        ("torchvision:resnet50", "such as|did you mean"),
        ("torchvision:", "such as"),
        ("torchvision:R3D_18_Weights.DEFAULT", "VideoClassification does not take one image"),
        ("timm:resnet5x", "timm:resnet5x"),
        ("elsewhere:x", "torchvision:WEIGHTS"),
    ],
)
def test_wrong_names_are_one_line(name: str, told: str) -> None:
    with pytest.raises(GradvizError, match=told) as caught:
        recipe_named(name)
    assert "\n" not in str(caught.value)


# The torchvision backend --------------------------------------------------------------------------


@pytest.mark.transformers
@pytest.mark.parametrize(
    "kind",
    ["ViT", "Beit", "Segformer", "ConvNext", "DPT", "GLPN", "Detr", "EfficientNet", "Bit", "CLIP"],
)
def test_the_backend_of_torchvision_differs_by_two_levels(photos: list[Path], kind: str) -> None:
    """The guide says so of what transformers takes if torchvision is installed."""
    processor = getattr(transformers, f"{kind}ImageProcessorPil")()
    library = getattr(transformers, f"{kind}ImageProcessor")(do_convert_rgb=True)
    recipe = recipe_of(processor, kind)
    levels = np.asarray(recipe.std or [1, 1, 1]).reshape(3, 1, 1) * 255
    for photo in photos:
        theirs = library(upright(photo), return_tensors="pt")["pixel_values"][0].numpy()
        ours = prepare(read_image(photo), recipe).tensor.numpy()
        assert np.abs((theirs - ours) * levels).max() < 2.01
