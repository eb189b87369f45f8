"""Recipes against the libraries that they come from: the same photos, pixel for pixel.

The libraries open and convert each photo with Pillow by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradviz.image.prepare import prepare
from gradviz.image.preprocess import preprocess_from
from gradviz.image.read import read_image
from tests.libraries.photos import make_photos, rgb, upright

HALVES: dict[str, Any] = {"mean": [0.5] * 3, "std": [0.5] * 3}
IMAGENET: dict[str, Any] = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
OF_IMAGENET = {"image_mean": IMAGENET["mean"], "image_std": IMAGENET["std"]}
BICUBIC = {"interpolation": "bicubic"}
SQUARE_224 = {"crop": 224, "crop_rule": "transformers"}
DETR = {"resize": 800, "longest": 1333, **IMAGENET}

PROCESSORS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "ViT, Swin": ("ViT", {}, {"resize": "224x224", **HALVES}),
    "levels as they are": (
        "ViT",
        {"do_rescale": False, "do_normalize": False},
        {"resize": "224x224", "rescale": 1},
    ),
    "DeiT": ("DeiT", {}, {"resize": "256x256", **BICUBIC, **SQUARE_224, **HALVES}),
    "a crop that pads": (
        "DeiT",
        {"size": {"height": 99, "width": 333}},
        {"resize": "333x99", **BICUBIC, **SQUARE_224, **HALVES},
    ),
    "BEiT": ("Beit", {}, {"resize": "224x224", **BICUBIC, **HALVES}),
    "DINOv2": (
        "Bit",
        {"size": {"shortest_edge": 256}, **OF_IMAGENET},
        {"resize": 256, **BICUBIC, **SQUARE_224, **IMAGENET},
    ),
    "ConvNeXt, ResNet": (
        "ConvNext",
        {"size": {"shortest_edge": 224}, "crop_pct": 0.875},
        {"resize": 224, "crop_pct": 0.875, **BICUBIC, **SQUARE_224, **HALVES},
    ),
    "ConvNeXt at 384": ("ConvNext", {}, {"resize": "384x384", **BICUBIC, **HALVES}),
    "MobileNetV2": ("MobileNetV2", {}, {"resize": 256, **SQUARE_224, **HALVES}),
    "EfficientNet": (
        "EfficientNet",
        {},
        {"resize": "346x346", **BICUBIC, "mean": [0.5] * 3, "std": [0.25] * 3},
    ),
    "EfficientNet with an offset": (
        "EfficientNet",
        {
            "resample": 0,
            "rescale_factor": 1 / 127.5,
            "rescale_offset": True,
            "do_normalize": False,
            "include_top": False,
        },
        {"resize": "346x346", "interpolation": "nearest", "range": "-1,1"},
    ),
    "SegFormer": ("Segformer", {}, {"resize": "512x512", **IMAGENET}),
    "GLPN": ("GLPN", {}, {"multiple": 32, "round": "floor"}),
    "DPT": ("DPT", {}, {"resize": "384x384", **BICUBIC, **HALVES}),
    "Depth-Anything": (
        "DPT",
        {
            "size": {"height": 518, "width": 518},
            "keep_aspect_ratio": True,
            "ensure_multiple_of": 14,
            **OF_IMAGENET,
        },
        {
            **{"resize": "518x518", "keep_aspect": "least", "multiple": 14, "round": "even"},
            **BICUBIC,
            **IMAGENET,
        },
    ),
    "DPT on DINOv2": (
        "DPT",
        {"do_resize": False, "do_pad": True, "size_divisor": 14},
        {"pad": "multiple:14", "pad_at": "around", "order": "normalise,pad", **HALVES},
    ),
    "DETR": ("Detr", {}, DETR),
    "DETR, padded": (
        "Detr",
        {"pad_size": {"height": 1400, "width": 1500}},
        {**DETR, "pad": "1500x1400", "order": "normalise,pad"},
    ),
    "YOLOS": ("Yolos", {}, {**DETR, "multiple": 16, "round": "floor"}),
}
"""A processor of transformers, its settings, and the recipe that says the same."""

FOLDERS = {"MobileNetV2": "mobilenet_v2"}

TIMM: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "center": ({"crop_pct": 0.95}, {"resize": 224, "crop_pct": 0.95, "crop": 224}),
    "center, wide": (
        {"img_size": (224, 320), "crop_pct": 0.875},
        {"resize": "320x224", "keep_aspect": "cover", "crop_pct": 0.875, "crop": "320x224"},
    ),
    "squash": (
        {"crop_mode": "squash", "crop_pct": 0.9},
        {"resize": "224x224", "crop_pct": 0.9, "crop": 224},
    ),
    "border": (
        {"crop_mode": "border", "crop_pct": 0.9},
        {
            **{"resize": "224x224", "keep_aspect": "inside", "crop_pct": 0.9, "crop": 224},
            "pad_value": [124, 116, 104],
        },
    ),
}
"""The settings of timm's evaluation transform, and the recipe that says the same."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_photos(tmp_path_factory.mktemp("photos"))


def compare(
    photos: list[Path], theirs: Callable[[Path], Any], recipe: dict[str, Any], apart: float = 1e-6
) -> None:
    ours = preprocess_from({"levels": "bytes", **recipe}, "test")
    for photo in photos:
        expected = np.asarray(theirs(photo))
        got = prepare(read_image(photo), ours).tensor.numpy()
        assert got.shape == expected.shape, photo.name
        np.testing.assert_allclose(got, expected, rtol=0, atol=apart, err_msg=photo.name)


@pytest.mark.transformers
@pytest.mark.parametrize("name", PROCESSORS)
def test_processors_of_transformers(photos: list[Path], name: str) -> None:
    kind, settings, recipe = PROCESSORS[name]
    folder = FOLDERS.get(kind, kind.lower())
    module = import_module(f"transformers.models.{folder}.image_processing_pil_{folder}")
    process = getattr(module, f"{kind}ImageProcessorPil")(**settings, do_convert_rgb=True)
    compare(photos, lambda photo: process(upright(photo))["pixel_values"][0], recipe)


@pytest.mark.timm
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("name", TIMM)
def test_timms_evaluation(photos: list[Path], name: str, interpolation: str) -> None:
    from timm.data.transforms_factory import transforms_imagenet_eval

    settings, recipe = TIMM[name]
    transform = transforms_imagenet_eval(**settings, **IMAGENET, interpolation=interpolation)
    same = {"interpolation": interpolation, "crop_rule": "torchvision", **IMAGENET, **recipe}
    compare(photos, lambda photo: transform(rgb(photo)), same)


@pytest.mark.timm
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("resize", "crop"), [(232, 224), (100, 225)])
def test_presets_of_torchvision(
    photos: list[Path], resize: int, crop: int, interpolation: str
) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    mode = InterpolationMode(interpolation)
    preset = ImageClassification(crop_size=crop, resize_size=resize, interpolation=mode)
    recipe = {"resize": resize, "crop": crop, "crop_rule": "torchvision", **IMAGENET}
    compare(photos, lambda photo: preset(rgb(photo)), {"interpolation": interpolation, **recipe})
