"""Operators that compute their elements from windows: convolution, pooling, resampling, padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gradviz.field.reach.arguments import Shape
from gradviz.field.reach.call import Call, Computes, Reach
from gradviz.field.reach.extents import Taps, check_elements, numbers
from gradviz.field.reach.shapes import along
from gradviz.field.resampling import sources

ONE = np.ones(1, np.uint64)
"""The weight of what is only moved."""


def convolved(call: Call) -> Reach:
    weight, groups = call.given["weight"], call.given["groups"]
    sizes = tuple(call.given["input"].shape)
    key = call.key("weight", "bias", "stride", "padding", "dilation", "transposed", "groups")
    found = _across_groups(call.reach("input"), sizes, groups, call.shape[1])
    for axis in range(2 - weight.dim(), 0):
        kernel, stride, padding, dilation = (
            weight.shape[axis],
            *(along(call.given[name], axis) for name in ("stride", "padding", "dilation")),
        )
        out, size = call.shape[axis], sizes[axis]
        if call.given["transposed"]:
            index = _transposed(out, size, (kernel, stride, padding, dilation))
        else:
            index = _windows(out, size, (kernel, stride, padding, dilation))
        found = found.gathered(axis, size, Taps(index, numbers(kernel)))
    return found.salted(key)


def _across_groups(reach: Reach, sizes: Shape, groups: int, channels: int) -> Reach:
    """Every channel from all channels of its group."""
    if not reach.is_open(1):
        return reach
    if groups == 1:
        return reach.reduced([1], sizes)
    split = (sizes[0], groups, sizes[1] // groups, *sizes[2:])
    found = reach.reshaped(sizes, split).reduced([2], split)
    joined = found.reshaped((*split[:2], 1, *split[3:]), (sizes[0], groups, *sizes[2:]))
    return joined.taken(1, np.arange(channels) // (channels // groups))


def _windows(count: int, size: int, window: tuple[int, int, int, int]) -> Any:
    kernel, stride, padding, dilation = window
    # Pooling by a share of a long input has windows of thousands of elements.
    check_elements([count, kernel])
    index = np.arange(count)[:, None] * stride - padding + np.arange(kernel) * dilation
    return np.where((index >= 0) & (index < size), index, -1)


def _transposed(count: int, size: int, window: tuple[int, int, int, int]) -> Any:
    kernel, stride, padding, dilation = window
    check_elements([count, kernel])
    place = np.arange(count)[:, None] + padding - np.arange(kernel) * dilation
    index = place // stride
    return np.where((place % stride == 0) & (index >= 0) & (index < size), index, -1)


def pooled(call: Call) -> list[Reach | None]:
    """The other result of max pooling are the places of the largest elements."""
    sizes = tuple(call.given["self"].shape)
    found = call.reach("self")
    for axis in (-2, -1):
        kernel, stride, padding = (
            along(call.given[name], axis) for name in ("kernel_size", "stride", "padding")
        )
        dilation = along(call.given.get("dilation", [1]), axis)
        window = (kernel, stride or kernel, padding, dilation)
        taps = Taps(_windows(call.shape[axis], sizes[axis], window), numbers(kernel))
        found = found.gathered(axis, sizes[axis], taps)
    key = call.key("kernel_size", "stride", "padding", "count_include_pad", "divisor_override")
    return [found.salted(key), None]


def shared_out(call: Call) -> list[Reach | None]:
    sizes = tuple(call.given["self"].shape)
    found = call.reach("self")
    for axis in (-2, -1):
        count, size = call.shape[axis], sizes[axis]
        places = np.arange(count)
        start, stop = places * size // count, -(-(places + 1) * size // count)
        index = start[:, None] + np.arange((stop - start).max())
        taps = Taps(np.where(index < stop[:, None], index, -1), numbers(index.shape[1]))
        found = found.gathered(axis, size, taps)
    return [found.salted(call.name), None]


def unfolded(call: Call) -> Reach:
    """Windows side by side: [N, C·kh·kw, H·W]."""
    sizes = tuple(call.given["self"].shape)
    batch, channels = sizes[:2]
    kernels, counts = [], []
    found = call.reach("self")
    for axis in (-2, -1):
        kernel, stride, padding, dilation = (
            along(call.given[name], axis)
            for name in ("kernel_size", "stride", "padding", "dilation")
        )
        count = (sizes[axis] + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        index = _windows(count, sizes[axis], (kernel, stride, padding, dilation)).T
        taps = Taps(index.reshape(-1, 1), ONE)
        found = found.gathered(axis, sizes[axis], taps)
        kernels.append(kernel)
        counts.append(count)
    (kh, kw), (h, w) = kernels, counts
    split = found.reshaped((batch, channels, kh * h, kw * w), (batch, channels, kh, h, kw, w))
    ordered = split.each(lambda e: e.each(lambda a: a.transpose(0, 1, 2, 4, 3, 5)))
    shape = (batch, channels, kh, kw, h, w)
    return ordered.reshaped(shape, call.shape).salted(call.name)


def nearest_elements(operator: Any) -> Computes:
    """The nearest element, as torch itself rounds."""

    def rule(call: Call) -> Reach:
        found, sizes = call.reach("self"), call.given["self"].shape
        for axis in (-2, -1):
            places = torch.arange(sizes[axis], dtype=torch.float64)[None, None]
            index = operator(places, [call.shape[axis]], _scale(call, axis))[0, 0].long().numpy()
            found = found.gathered(axis, sizes[axis], Taps(index[:, None], ONE))
        return found.salted(call.name)

    return rule


def resampled(taps_of: Callable[[Any, Any, int], tuple[Any, Any]]) -> Computes:
    def rule(call: Call) -> Reach:
        found, sizes = call.reach("self"), call.given["self"].shape
        corners = call.given["align_corners"]
        for axis in (-2, -1):
            size, count = sizes[axis], call.shape[axis]
            if size != count:
                whole, rest = sources(size, count, _scale(call, axis), corners)
                found = found.gathered(axis, size, _weighted(*taps_of(whole, rest, size)))
        return found.salted(call.name, corners)

    return rule


def _scale(call: Call, axis: int) -> float | None:
    scale: float | None = call.given["scales_w" if axis == -1 else "scales_h"]
    return scale


def _weighted(index: Any, coefficients: Any) -> Taps:
    hashes = coefficients.astype(np.float64).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return Taps(
        np.where(coefficients == 0, -1, index), (hashes ^ numbers(index.shape[1])) | np.uint64(1)
    )


def padded(place: Callable[[Any, int], Any]) -> Computes:
    """Return the element that lies behind the border: one inside, or none (-1)."""

    def rule(call: Call) -> Reach:
        pads: list[int] = call.given["pad"] if "pad" in call.given else call.given["padding"]
        sizes = tuple(call.given["self"].shape)
        found = call.reach("self")
        for number in range(len(pads) // 2):
            axis = -1 - number
            if pads[2 * number] == pads[2 * number + 1] == 0:
                continue
            index = place(np.arange(call.shape[axis]) - pads[2 * number], sizes[axis])
            found = found.gathered(axis, sizes[axis], Taps(index[:, None], ONE))
        return found.salted(call.name, call.given.get("value"))

    return rule


def reflected(index: Any, size: int) -> Any:
    return size - 1 - np.abs(size - 1 - np.abs(index))
