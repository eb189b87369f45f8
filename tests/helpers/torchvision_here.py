"""Importing torchvision beside a torch of another build, such as one without CUDA.

torchvision's wheel for CUDA does not register its operators there, and its import asks for them.
Naming them is enough for all models that do not call them. Nothing happens where torchvision works.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress

import torch
from torch import Tensor

_BOXES = "Tensor input, Tensor rois, float scale, SymInt height, SymInt width"
_SHAPE = "SymInt height, SymInt width, SymInt batch, SymInt channels, SymInt h, SymInt w"
_GIVEN = "Tensor grad, Tensor rois"
_CONVOLVED = "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias"
_STRIDES = ", ".join(f"SymInt a{n}" for n in range(8)) + ", bool use_mask"

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align({_BOXES}, int ratio, bool aligned) -> Tensor",
    f"_roi_align_backward({_GIVEN}, float scale, {_SHAPE}, int ratio, bool aligned) -> Tensor",
    f"ps_roi_align({_BOXES}, int ratio) -> (Tensor, Tensor)",
    f"_ps_roi_align_backward({_GIVEN}, Tensor map, float scale, {_SHAPE}, int ratio) -> Tensor",
    f"roi_pool({_BOXES}) -> (Tensor, Tensor)",
    f"_roi_pool_backward({_GIVEN}, Tensor argmax, float scale, {_SHAPE}) -> Tensor",
    f"ps_roi_pool({_BOXES}) -> (Tensor, Tensor)",
    f"_ps_roi_pool_backward({_GIVEN}, Tensor map, float scale, {_SHAPE}) -> Tensor",
    f"deform_conv2d({_CONVOLVED}, {_STRIDES}) -> Tensor",
    f"_deform_conv2d_backward(Tensor grad, {_CONVOLVED}, {_STRIDES})"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
"""The operators whose meta kernels torchvision registers when it is imported."""

_KEPT: list[torch.library.Library] = []
"""A library's operators are gone with it."""


def make_torchvision_importable() -> None:
    """Import torchvision; name its operators first if it cannot find them."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _KEPT.append(library := torch.library.Library("torchvision", "FRAGMENT"))  # type: ignore[no-untyped-call]
        for operator in _OPERATORS:
            with suppress(RuntimeError):  # it is registered
                library.define(operator)  # type: ignore[no-untyped-call]
        importlib.import_module("torchvision")


def bring_suppression() -> None:
    """Give torchvision an `nms` in Python where its build has none for the CPU."""
    if torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::nms", "CPU"):
        return
    asks = vars(importlib.import_module("torchvision.ops.boxes"))
    asks["_assert_has_ops"] = _here
    _KEPT.append(library := torch.library.Library("torchvision", "IMPL"))  # type: ignore[no-untyped-call]
    library.impl("nms", _nms, "CPU")  # type: ignore[no-untyped-call]


def _here() -> None:
    """Answer for torchvision, which asks for the operators of its build; scripts call it too."""


def _nms(boxes: Tensor, scores: Tensor, most: float) -> Tensor:
    """The best boxes, none of which overlaps a better one by more than `most`."""
    corners, kept = boxes.tolist(), list[int]()
    for n in scores.argsort(descending=True).tolist():
        if all(_overlap(corners[n], corners[k]) <= most for k in kept):
            kept.append(n)
    return torch.tensor(kept, dtype=torch.int64)


def _overlap(one: list[float], other: list[float]) -> float:
    (a0, b0, a1, b1), (c0, d0, c1, d1) = one, other
    shared = max(0, min(a1, c1) - max(a0, c0)) * max(0, min(b1, d1) - max(b0, d0))
    both = (a1 - a0) * (b1 - b0) + (c1 - c0) * (d1 - d0) - shared
    return shared / both if both else 0.0


def bring_roi_align() -> None:
    """Give torchvision a `roi_align` in Python where its build has none for the CPU."""
    if torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::roi_align", "CPU"):
        return
    for name in ("roi_align", "poolers"):
        vars(importlib.import_module(f"torchvision.ops.{name}"))["roi_align"] = _roi_align


def _roi_align(
    maps: Tensor, boxes: Tensor, output_size: tuple[int, int], spatial_scale: float, **_: int
) -> Tensor:
    """Two by two bilinear samples in each cell of boxes [K, 5], all of the same one image."""
    height, width = maps.shape[2:]
    down, across = (2 * cells for cells in output_size)
    found = []
    for x0, y0, x1, y1 in boxes[:, 1:] * spatial_scale:
        x = x0 + (torch.arange(across) + 0.5) / across * (x1 - x0).clamp(min=1)
        y = y0 + (torch.arange(down) + 0.5) / down * (y1 - y0).clamp(min=1)
        across_it = (2 * x / width - 1).expand(down, across)
        down_it = (2 * y / height - 1)[:, None].expand(down, across)
        grid = torch.stack([across_it, down_it], 2)
        samples = torch.nn.functional.grid_sample(maps, grid[None], align_corners=False)
        found.append(torch.nn.functional.avg_pool2d(samples, 2)[0])
    return torch.stack(found) if found else maps.new_zeros(0, maps.shape[1], *output_size)
