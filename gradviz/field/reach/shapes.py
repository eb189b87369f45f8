"""The shapes that operators give, for a pass without numbers.

torch knows them too, but what it runs on its meta device is Python that imports SymPy and its
compiler first, a second and more. What is not listed here is asked of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gradviz.field.reach.arguments import META, Shape
from gradviz.text import words
from gradviz.watch import tensors_in

ShapesOf = Callable[[dict[str, Any]], list[Shape] | None]
"""From the arguments of a call to the shapes of its results; None to ask torch."""


def _broadcast(given: dict[str, Any]) -> list[Shape] | None:
    found: list[int] = []
    for tensor in tensors_in(given):
        sizes = list(tensor.shape)
        found[:0] = [1] * (len(sizes) - len(found))
        sizes[:0] = [1] * (len(found) - len(sizes))
        for axis, (one, other) in enumerate(zip(found, sizes, strict=True)):
            if one != other and 1 not in (one, other):
                return None  # torch says why
            found[axis] = other if one == 1 else one
    return [tuple(found)]


def _same(name: str) -> ShapesOf:
    return lambda given: [tuple(given[name].shape)]


def _convolution(given: dict[str, Any]) -> list[Shape] | None:
    x, weight, groups = given["input"], given["weight"], given["groups"]
    rank = weight.dim() - 2
    transposed = given["transposed"]
    if x.dim() != rank + 2 or x.shape[1] != (
        weight.shape[0] if transposed else weight.shape[1] * groups
    ):
        return None
    sizes = []
    for axis in range(-rank, 0):
        kernel, size = weight.shape[axis], x.shape[axis]
        stride, padding, dilation, more = (
            along(given[name], axis) for name in ("stride", "padding", "dilation", "output_padding")
        )
        span = dilation * (kernel - 1)
        if transposed:
            sizes.append((size - 1) * stride - 2 * padding + span + more + 1)
        else:
            sizes.append((size + 2 * padding - span - 1) // stride + 1)
    if min(sizes) < 1:
        return None
    channels = weight.shape[1] * groups if transposed else weight.shape[0]
    return [(x.shape[0], channels, *sizes)]


def _pooled(given: dict[str, Any]) -> list[Shape] | None:
    x, sizes = given["self"], []
    for axis in (-2, -1):
        kernel, stride, padding = (
            along(given[name], axis) for name in ("kernel_size", "stride", "padding")
        )
        stride, span = stride or kernel, along(given.get("dilation", [1]), axis) * (kernel - 1)
        rest = stride - 1 if given["ceil_mode"] else 0
        count = (x.shape[axis] + 2 * padding - span - 1 + rest) // stride + 1
        if given["ceil_mode"] and (count - 1) * stride >= x.shape[axis] + padding:
            count -= 1
        sizes.append(count)
    shape = (*x.shape[:-2], *sizes)
    return None if min(sizes) < 1 else [shape] if "count_include_pad" in given else [shape, shape]


def _sized(given: dict[str, Any]) -> list[Shape] | None:
    return [(*given["self"].shape[:-2], *given["output_size"])]


def _padded(given: dict[str, Any]) -> list[Shape] | None:
    pads, sizes = given.get("pad", given.get("padding")), list(given["self"].shape)
    assert pads is not None
    for number in range(len(pads) // 2):
        before, after = pads[2 * number : 2 * number + 2]
        if "pad" not in given and not max(before, after) < sizes[-1 - number]:
            return None  # a reflection of more than there is
        sizes[-1 - number] += before + after
    return [tuple(sizes)] if min(sizes) > 0 else None


def _joined(given: dict[str, Any]) -> list[Shape] | None:
    tensors, axis = given["tensors"], given["dim"]
    sizes = list(tensors[0].shape)
    for tensor in tensors[1:]:
        others = list(tensor.shape)
        if len(others) != len(sizes):
            return None
        others[axis], sizes[axis] = sizes[axis], sizes[axis] + others[axis]
        if others[:axis] + others[axis:][1:] != sizes[:axis] + sizes[axis:][1:]:
            return None
    return [tuple(sizes)]


def _normed(given: dict[str, Any]) -> list[Shape] | None:
    return [tuple(given["input"].shape), (0,), (0,)]


def _product(given: dict[str, Any]) -> list[Shape] | None:
    one = given.get("mat1", given.get("batch1", given["self"]))
    two = given.get("mat2", given.get("batch2"))
    if two is None or one.shape[-1] != two.shape[-2]:
        return None
    return [(*one.shape[:-1], two.shape[-1])]


def _whole(given: dict[str, Any]) -> list[Shape] | None:
    shape, dims = list(given["self"].shape), given.get("dim")
    axes = range(len(shape)) if dims in (None, []) else [dims] if isinstance(dims, int) else dims
    kept = {axis % len(shape) for axis in axes} if shape else set()
    if given.get("keepdim", False):
        return [tuple(1 if axis in kept else size for axis, size in enumerate(shape))]
    return [tuple(size for axis, size in enumerate(shape) if axis not in kept)]


def along(values: Sequence[int], axis: int) -> int:
    """One number may stand for all axes, and none for the default."""
    return 0 if not values else values[0] if len(values) == 1 else values[axis]


SHAPES: dict[str, ShapesOf] = {
    **dict.fromkeys(
        words(
            "relu leaky_relu elu gelu silu mish hardswish hardsigmoid hardtanh threshold "
            "_prelu_kernel sigmoid tanh softplus clamp abs neg sqrt rsqrt exp log pow reciprocal "
            "sin cos maximum minimum mul div add sub rsub lerp square clone"
        ),
        _broadcast,
    ),
    **dict.fromkeys(["_softmax", "_log_softmax", "roll", "flip"], _same("self")),
    **dict.fromkeys(["convolution", "_convolution"], _convolution),
    **dict.fromkeys(["max_pool2d_with_indices", "avg_pool2d"], _pooled),
    **dict.fromkeys(
        words(
            "_adaptive_avg_pool2d upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d "
            "upsample_bicubic2d"
        ),
        _sized,
    ),
    **dict.fromkeys(["constant_pad_nd", "reflection_pad2d"], _padded),
    "cat": _joined,
    **dict.fromkeys(["native_batch_norm", "native_group_norm", "native_layer_norm"], _normed),
    **dict.fromkeys(["mm", "bmm", "addmm", "baddbmm"], _product),
    **dict.fromkeys(["mean", "sum", "amax", "amin"], _whole),
}
"""The shapes of the results, by operator, where all floating arguments have one number type."""

PLACES = frozenset(["max_pool2d_with_indices"])
"""Operators whose other results are whole numbers."""


def made_without_torch(name: str, given: dict[str, Any]) -> list[Tensor] | None:
    """Return the result of an operator on the meta device; None to call torch."""
    if name not in SHAPES or given.get("dtype") is not None or given.get("out") is not None:
        return None
    types = {tensor.dtype for tensor in tensors_in(given)}
    if len(types) != 1 or not (dtype := types.pop()).is_floating_point:
        return None
    shapes = SHAPES[name](given)
    if shapes is None:
        return None
    return [
        torch.empty(shape, dtype=torch.int64 if n and name in PLACES else dtype, device=META)
        for n, shape in enumerate(shapes)
    ]
