"""Boxes of transformers' and torchvision's detectors: the gradient is autograd's, by hand."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradviz
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
    if name.startswith("fcos"):  # a script takes images as a list, and gives losses beside them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            close(wrap(torch.jit.script(made)), x, *free_side(output, 0))


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
