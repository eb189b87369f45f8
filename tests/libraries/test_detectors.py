"""Boxes of transformers' and torchvision's detectors: the gradient is autograd's, by hand."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradviz
from gradviz.api import _as_it_is as as_it_is
from gradviz.commands.inspect.inspection import inspect_model
from gradviz.errors import SeedError, UsageError
from gradviz.image.load import LoadedImage
from gradviz.image.preprocess import Preprocess
from gradviz.model.load import load_model, wrap
from gradviz.model.model import Model
from tests.helpers.torchvision_here import bring_roi_align, bring_suppression
from tests.libraries.small_transformers import Small

Saved = Callable[[str], tuple[Path, Small]]


def close(model: Model, x: Tensor, spec: str, number: Tensor) -> Any:
    """Compare a seed's result with the gradient of a number that was computed from x."""
    (gradient,) = torch.autograd.grad(number, x, retain_graph=True)
    (result,) = gradviz.saliency(model, x[0].detach(), spec, box_score=0.0, box_iou=1.0)
    expected = gradient[0].numpy()
    assert np.abs(expected).max() > 0
    assert result.score == pytest.approx(number.item(), rel=1e-4)
    assert np.linalg.norm(result.array - expected) <= 1e-4 * np.linalg.norm(expected)
    return result


@pytest.mark.transformers
@pytest.mark.parametrize("name", ["DETR", "YOLOS"])
def test_folders_of_transformers(saved: Saved, name: str) -> None:
    """The number of classes is the configuration's, for they have no names."""
    folder, small = saved(name)
    torch.manual_seed(2)
    x = torch.rand(1, 3, small.side, small.side, requires_grad=True)
    output = small.model(pixel_values=x)
    chances = output.logits[0].softmax(1)[:, :-1].max(1)
    order = chances.values.argsort(descending=True, stable=True)
    model = load_model(folder)
    for n in (0, 1):
        row = order[n]
        logit = output.logits[0, row, chances.indices[row]]
        cx, _, w, _ = small.side * output.pred_boxes[0, row]
        result = close(model, x, f"box:{n}", logit)
        assert result.detection.score == pytest.approx(chances.values[row].item(), rel=1e-4)
        close(model, x, f"box:{n}:x0", cx - w / 2)
        close(model, x, f"box:{n}:w", w)


@pytest.mark.transformers
@pytest.mark.parametrize("name", ["DETR", "YOLOS"])
def test_outputs_of_detectors_are_no_maps(saved: Saved, name: str) -> None:
    folder, small = saved(name)
    model = load_model(folder)
    image = torch.rand(3, small.side, small.side)
    (result,) = gradviz.saliency(model, image, box_score=0.0)
    assert result.seed == "box:0" and result.detection is not None
    with pytest.raises(SeedError, match=r"needs a dense map .*, but the output holds detections"):
        gradviz.saliency(model, image, "pixel:0,0")
    with pytest.raises(SeedError, match=r"fits two readings, a map of \d+x5 pixels and 5 rows"):
        gradviz.saliency(replace(model, output="logits"), image, "pixel:0,0")
    stated = replace(model, output="logits")
    (result,) = gradviz.saliency(stated, image, "pixel:0,0", layout="nchw")
    assert result.score == pytest.approx(small.model(image[None]).logits[0, 0, 0].item(), rel=1e-4)
    with pytest.raises(UsageError, match="the output holds detections, which have no pixels"):
        gradviz.receptive_field(model)
    found = inspect_model(model, Preprocess(), LoadedImage("a", as_it_is(image)))
    assert found.detections is not None and found.detections.boxes == 5
    assert [each.key for each in found.outputs if each.chosen] == ["logits"]


def vision(name: str, **settings: Any) -> nn.Module:
    """A detector of torchvision for small images, as it is before training."""
    torch.manual_seed(0)
    models = importlib.import_module("torchvision.models.detection")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: nn.Module = getattr(models, name)(
            weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=64, **settings
        )
    if name.startswith("fcos"):  # before training, its ReLU may cut all sides to 0
        made.get_parameter("head.regression_head.bbox_reg.bias").data.fill_(1)
    return made.eval().requires_grad_(False)


def free_side(output: dict[str, Tensor], row: int) -> tuple[str, Tensor]:
    """A side of a box that the border of the image has not cut: its seed, and its place."""
    sides = output["boxes"][row]
    axis = next(n for n, side in enumerate(sides.tolist()) if 0 < side < 64)
    return f"box:{row}:{('x0', 'y0', 'x1', 'y1')[axis]}", sides[axis]


@pytest.mark.timm
@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn", "fcos_resnet50_fpn"])
def test_lists_of_torchvision(name: str) -> None:
    bring_suppression()
    made = vision(name, score_thresh=0.0, detections_per_img=5, topk_candidates=20)
    torch.manual_seed(3)
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    (output,) = made(x)
    # Before training, the border cuts some boxes to nothing.
    sizes = output["boxes"][:, 2:] - output["boxes"][:, :2]
    output = {name: values[(sizes > 0).all(1)] for name, values in output.items()}
    model = wrap(made)
    result = close(model, x, "box:0", output["scores"][0])
    assert result.detection.index == output["labels"][0]
    assert result.detection.box_in_input == pytest.approx(output["boxes"][0].tolist(), rel=1e-4)
    assert not result.warnings
    close(model, x, *free_side(output, 0))
    close(model, x, *free_side(output, 1))
    (best,) = gradviz.saliency(model, x[0].detach(), box_score=0.0)
    assert best.seed == "box:0" and best.score == pytest.approx(
        output["scores"][0].item(), rel=1e-4
    )
    if name.startswith("fcos"):  # a script takes images as a list, and gives losses beside them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            close(wrap(torch.jit.script(made)), x, *free_side(output, 0))


@pytest.mark.timm
def test_layers_behind_the_padded_batch_of_torchvision() -> None:
    """Images are written into a part of a batch of zeros. Here the input is kept as it is."""
    bring_suppression()
    made = vision("fcos_resnet50_fpn", score_thresh=0.0)
    image = torch.rand(3, 64, 64)
    model = wrap(made)
    (cam,) = gradviz.saliency(model, image, "box:0", method="gradcam", box_score=0.0)
    assert cam.layer == "backbone.body.layer2"  # all levels of the pyramid are made of it
    features: list[Tensor] = []
    made.get_submodule("backbone.body.layer2").register_forward_hook(
        lambda _module, _given, output: features.append(output)
    )
    (output,) = made(image[None].requires_grad_())
    (gradient,) = torch.autograd.grad(output["scores"][0], features[0])
    weights = gradient.mean((2, 3), keepdim=True)
    expected = (weights * features[0]).sum(1).relu()[0].detach().numpy()
    assert np.abs(expected).max() > 0
    assert np.abs(cam.array[0] - expected).max() <= 1e-4 * np.abs(expected).max()
    with pytest.raises(UsageError, match="the output holds detections, which have no pixels"):
        gradviz.receptive_field(model)
    fields = gradviz.receptive_field(model, layer="backbone.body.layer1", input_size=(64, 64))
    body = replace(wrap(made.get_submodule("backbone.body")), output="0")
    plain = gradviz.receptive_field(body, layer="layer1")
    (field,) = fields.fields
    assert field.structural.status == "exact"
    assert field.structural.box is not None and plain.geometry.x is not None
    left, _, right, _ = field.structural.box
    assert right - left == plain.geometry.x.size
    # A pass without numbers renews the anchors, which must have theirs again.
    (again,) = gradviz.saliency(model, image, "box:0", box_score=0.0)
    assert np.abs(again.array).max() > 0


@pytest.mark.timm
def test_the_detached_proposals_of_faster_rcnn_are_named() -> None:
    bring_suppression()
    bring_roi_align()
    made = vision(
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        box_score_thresh=0.0,
        rpn_post_nms_top_n_test=10,
        box_detections_per_img=3,
    )
    torch.manual_seed(3)
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    (output,) = made(x)
    result = close(wrap(made), x, *free_side(output, 0))
    assert [warning for warning in result.warnings if "detaches, in rpn:" in warning]
