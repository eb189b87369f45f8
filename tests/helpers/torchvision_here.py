"""Importing torchvision beside a torch of another build, such as one without CUDA.

torchvision's wheel for CUDA does not register its operators there, and its import asks for them.
Naming them is enough for all models that do not call them. Nothing happens where torchvision works.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress

import torch

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
