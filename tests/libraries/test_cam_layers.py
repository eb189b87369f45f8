"""Grad-CAM and its kin in networks of other libraries: which layer, and which numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
import transformers as t
from captum.attr import LayerGradCam
from torch import Tensor, nn

import gradviz as package
from gradviz.backward.cam_layer import cam_layer
from gradviz.backward.layer_outputs import ActivationRecorder
from gradviz.backward.layers import run_with_layers
from gradviz.model.outputs import select_output
from tests.helpers.formats import models
from tests.helpers.grad_cam_here import import_grad_cam
from tests.helpers.paths import ROOT
from tests.libraries.conftest import randomise
from tests.libraries.small_transformers import PARTS, PYRAMID, SMALL, TRANSFORMER

LIBRARY = import_grad_cam()

PLAIN = {"embed_dim": 8, "num_heads": 2, "patch_size": 8, "img_size": 32}
WINDOWS = {"embed_dim": 8, "num_heads": (1, 1, 2, 2), "window_size": 2, "img_size": 64}
DEEP = TRANSFORMER | {"num_hidden_layers": 12, "hidden_size": 8, "intermediate_size": 8}


@dataclass(frozen=True)
class Case:
    """A network of as many layers as the real one has, but narrow."""

    make: Callable[[], Any]
    side: int = 32
    output: str | None = None


timm_made = timm.create_model

CASES: dict[str, Case] = {
    "ResNet-18 of torchvision": Case(torchvision.models.resnet18, 64),
    "MobileNet v2 of torchvision": Case(
        lambda: torchvision.models.mobilenet_v2(width_mult=0.1), 64
    ),
    "DenseNet-121 of torchvision": Case(
        lambda: torchvision.models.DenseNet(4, (6, 12, 24, 16), 8), 64
    ),
    "ViT of timm": Case(lambda: timm_made("vit_base_patch16_224", **PLAIN)),
    "distilled DeiT of timm": Case(lambda: timm_made("deit_base_distilled_patch16_224", **PLAIN)),
    "DINOv2 with registers of timm": Case(
        lambda: timm_made("vit_base_patch14_reg4_dinov2", **PLAIN, num_classes=10)
    ),
    "BEiT of timm": Case(lambda: timm_made("beit_base_patch16_224", **PLAIN)),
    "Swin of timm": Case(lambda: timm_made("swin_tiny_patch4_window7_224", **WINDOWS), 64),
    "Swin v2 of timm": Case(lambda: timm_made("swinv2_tiny_window8_256", **WINDOWS), 64),
    "MaxViT of timm": Case(lambda: timm_made("maxvit_rmlp_pico_rw_256", img_size=64), 64),
    "PVT v2 of timm": Case(lambda: timm_made("pvt_v2_b0"), 64),
    "ConvNeXt of timm": Case(lambda: timm_made("convnext_atto", dims=(4, 8, 8, 8)), 64),
    "ResNet of transformers": Case(lambda: SMALL["ResNet"]().model, 64, "logits"),
    "SegFormer of transformers": Case(
        lambda: t.SegformerForSemanticSegmentation(
            t.SegformerConfig(decoder_hidden_size=16, **PYRAMID)
        ),
        64,
        "logits",
    ),
    "DPT of transformers": Case(
        lambda: t.DPTForDepthEstimation(
            t.DPTConfig(**DEEP, backbone_out_indices=[2, 5, 8, 11], is_hybrid=False, **PARTS)
        ),
        output="predicted_depth",
    ),
    "YOLOS of transformers": Case(
        lambda: t.YolosForObjectDetection(
            t.YolosConfig(**DEEP | {"image_size": [32, 32]}, num_detection_tokens=5)
        ),
        output="logits",
    ),
    "CLIP's vision tower of transformers": Case(
        lambda: t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**DEEP, projection_dim=8)),
        output="image_embeds",
    ),
    "U-Net of segmentation_models_pytorch": Case(
        lambda: smp.Unet("resnet18", encoder_weights=None, decoder_channels=(8, 8, 4, 4, 4)), 64
    ),
}


def quoted() -> dict[str, str]:
    """The table of the guide."""
    text = (ROOT / "docs" / "guide" / "methods.md").read_text("utf-8")
    table = text.partition("| network | layer |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| ([^|`]+) \| `([^`]+)` \|", table, re.MULTILINE))


def test_the_table_of_the_guide_has_every_network() -> None:
    assert quoted().keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_the_layer_is_the_one_of_the_guide(name: str) -> None:
    case = CASES[name]
    net = case.make().eval().requires_grad_(False)
    randomise(net)
    x = torch.rand(1, 3, case.side, case.side).requires_grad_()
    recorder = ActivationRecorder(net, operations=True)
    _, layers = run_with_layers(net, lambda x: select_output(net(x), case.output, 1), x, recorder)
    found = cam_layer(layers).layer
    assert found.name == quoted()[name]
    assert found.activation is not None and found.spatial


Reshape = Callable[[Tensor], Tensor]


def channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def tokens(extra: int, x: Tensor) -> Tensor:
    side = int((x.shape[1] - extra) ** 0.5)
    return x[:, extra:].transpose(1, 2).reshape(len(x), -1, side, side)


SAME: dict[str, tuple[str, Reshape | None]] = {
    "ResNet-18 of torchvision": ("layer4", None),
    "MobileNet v2 of torchvision": ("features", None),
    "PVT v2 of timm": ("stages.3.norm", partial(tokens, 0)),
    "ViT of timm": ("blocks.10", partial(tokens, 1)),
    "distilled DeiT of timm": ("blocks.10", partial(tokens, 2)),
    "DINOv2 with registers of timm": ("blocks.10", partial(tokens, 5)),
    "Swin of timm": ("norm", channels_last),
    "ConvNeXt of timm": ("stages", None),
}
"""Networks whose default layer is a module, and how pytorch-grad-cam is to read its output."""

SEEDS = [f"class:{n}" for n in range(8)]

METHODS = {
    "gradcam": "GradCAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "gradcam++": "GradCAMPlusPlus",
}


@pytest.fixture(scope="module", params=SAME)
def network(request: pytest.FixtureRequest) -> tuple[str, nn.Module, Tensor]:
    case = CASES[request.param]
    net = case.make().eval().double().requires_grad_(False)
    randomise(net)
    # Steep scores: theirs has 1e-6 below a fraction of squares of gradients, in Grad-CAM++.
    for head in [each for each in net.modules() if isinstance(each, nn.Linear)][-2:]:
        if head.out_features >= len(SEEDS):
            head.weight *= 1e4
    return request.param, net, torch.rand(3, case.side, case.side)


def theirs(net: nn.Module, image: Tensor, layer: str, reshape: Reshape | None, kind: str) -> Any:
    target = LIBRARY.utils.model_targets.ClassifierOutputTarget
    x = image.double()[None].requires_grad_()
    with getattr(LIBRARY, kind)(net, [net.get_submodule(layer)], reshape) as cam:
        return [cam(x, [target(n)])[0] for n in range(len(SEEDS))]


def close(found: Any, expected: Any) -> None:
    """Hold maps for several classes against each other; a map may be zero, not all of them."""
    found, expected = np.stack(found), np.stack(expected)
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("method", METHODS)
def test_the_map_is_that_of_pytorch_grad_cam(
    network: tuple[str, nn.Module, Tensor], method: str
) -> None:
    name, net, image = network
    layer, reshape = SAME[name]
    if method == "gradcam++" and layer.startswith("blocks"):
        return  # gradients of 1e-6 and less, where the number that theirs adds decides
    model = package.wrap(net, precision="float64")
    found = package.saliency(model, image, SEEDS, method=method)
    assert {each.layer for each in found} == {layer}
    close([each.array[0] for each in found], theirs(net, image, layer, reshape, METHODS[method]))


def test_a_class_token_is_seen_in_every_format(tmp_path: Path) -> None:
    case = CASES["ViT of timm"]
    net = case.make().eval()
    randomise(net)
    image = torch.rand(3, case.side, case.side)
    maps = {}
    for format, model in models(net, image[None], tmp_path, "traced.ts", "program.pt2").items():
        found = package.saliency(model, image, SEEDS, method="gradcam")
        names = {each.layer for each in found}
        assert names == ({"blocks.10"} if format == "eager" else {"add_22"})
        again = package.saliency(model, image, SEEDS, method="gradcam", layer="add_22")
        maps[format] = np.stack([each.array for each in found])
        assert np.array_equal(maps[format], np.stack([each.array for each in again]))
    largest = np.abs(maps["eager"]).max()
    assert largest > 0
    for other in maps.values():
        assert np.abs(other - maps["eager"]).max() <= 1e-4 * largest


@pytest.mark.filterwarnings("ignore:Setting (forward, )?backward hooks:UserWarning")
@pytest.mark.parametrize("name", ["ResNet-18 of torchvision", "MobileNet v2 of torchvision"])
def test_the_map_is_that_of_captum(name: str) -> None:
    case = CASES[name]
    net = case.make().eval().double().requires_grad_(False)
    randomise(net)
    image = torch.rand(3, case.side, case.side)
    layer, _ = SAME[name]
    model = package.wrap(net, precision="float64")
    found = package.saliency(model, image, SEEDS, method="gradcam")
    x = image.double()[None].requires_grad_()
    cam = LayerGradCam(net, net.get_submodule(layer))
    expected = [cam.attribute(x, target=n, relu_attributions=True) for n in range(len(SEEDS))]
    close([each.array for each in found], [each[0].detach().numpy() for each in expected])
