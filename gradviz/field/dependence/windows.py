"""The structural rule of windows: convolution, pooling and interpolation along one axis each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import functional as F

from gradviz.field.reach.arguments import Shape
from gradviz.field.resampling import sources

Rule = Callable[[Any, Tensor, int, Shape], Tensor]
"""`(node, tainted, place, shape) -> tainted`: from the operation's output (bool) to its input
number `place`, of the given shape. The result may be smaller if it is to be broadcast."""


@dataclass(frozen=True)
class Window:
    """A window along one axis: output o looks at inputs o·stride − padding + k·dilation."""

    size: int
    stride: int
    padding: int
    dilation: int

    def span(self, count: int) -> int:
        """Count the elements that `count` windows cover, from the first to the last."""
        return (count - 1) * self.stride + (self.size - 1) * self.dilation + 1

    def slices(self, count: int) -> list[slice]:
        """Return the places of each element of the window in `count` windows, from the first."""
        last = (count - 1) * self.stride + 1
        return [
            slice(start, start + last, self.stride)
            for start in range(0, self.size * self.dilation, self.dilation)
        ]


def spread(tainted: Tensor, axis: int, size: int, window: Window) -> Tensor:
    """Spread the taint of windows to the `size` elements under them."""
    tainted = tainted.movedim(axis, -1)
    count = tainted.shape[-1]
    covered = tainted.new_zeros((*tainted.shape[:-1], window.span(count)))
    for part in window.slices(count):
        covered[..., part] |= tainted
    # Windows may hang over both edges, by their padding and by ceil_mode, or leave a rest.
    fitted = _resize(covered, -window.padding, size)
    return fitted.movedim(-1, axis)


def gather(tainted: Tensor, axis: int, size: int, window: Window) -> Tensor:
    """Gather the taint of elements into the `size` windows that wrote them."""
    tainted = _resize(tainted.movedim(axis, -1), window.padding, window.span(size))
    found = tainted.new_zeros((*tainted.shape[:-1], size))
    for part in window.slices(size):
        found |= tainted[..., part]
    return found.movedim(-1, axis)


def _resize(tainted: Tensor, before: int, size: int) -> Tensor:
    """`before` elements more in front (fewer, if negative), and `size` in all, on the last axis."""
    return F.pad(tainted, (before, size - tainted.shape[-1] - before))


def max_pool(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    """All elements of the windows."""
    rank = len(node._saved_kernel_size)
    tainted = seen_once(tainted, [1])
    for axis in range(-rank, 0):
        kernel, stride, padding, dilation = (
            _along(getattr(node, f"_saved_{name}"), axis)
            for name in ("kernel_size", "stride", "padding", "dilation")
        )
        tainted = spread(
            tainted, axis, shape[axis], Window(kernel, stride or kernel, padding, dilation)
        )
    return tainted


def _along(values: Sequence[int], axis: int) -> int:
    """One number may stand for all axes, and none for the default."""
    return 0 if not values else values[0] if len(values) == 1 else values[axis]


def adaptive_max_pool(rank: int) -> Rule:
    """All elements of the shares, which may overlap."""

    def rule(node: Node, tainted: Tensor, place: int, shape: Shape) -> Tensor:
        for axis in range(-rank, 0):
            count, size = tainted.shape[axis], shape[axis]
            windows = tainted.movedim(axis, 0)
            found = windows.new_zeros((size, *windows.shape[1:]))
            for window, row in enumerate(windows):
                # From the floor of its share's start to the ceiling of its end.
                found[window * size // count : -(-(window + 1) * size // count)] |= row
            tainted = found.movedim(0, axis)
        return tainted

    return rule


def average_pool(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    """All elements of the windows."""
    tainted = seen_once(tainted, [1])
    for axis in range(-len(node._saved_kernel_size), 0):
        kernel, stride, padding = (
            _along(getattr(node, f"_saved_{name}"), axis)
            for name in ("kernel_size", "stride", "padding")
        )
        tainted = spread(tainted, axis, shape[axis], Window(kernel, stride or kernel, padding, 1))
    return tainted


def interpolated(taps_of: Callable[[Any, Any, int], tuple[Any, Any]]) -> Rule:
    """The neighbours that have a coefficient."""

    def rule(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
        tainted = seen_once(tainted, [1])
        for axis, name in ((-2, "_saved_scales_h"), (-1, "_saved_scales_w")):
            size, count = shape[axis], tainted.shape[axis]
            if size == count:
                continue
            whole, rest = sources(size, count, getattr(node, name), node._saved_align_corners)
            results = tainted.movedim(axis, 0)
            found = results.new_zeros((size, *results.shape[1:]))
            for index, coefficients in zip(
                *(each.T for each in taps_of(whole, rest, size)), strict=True
            ):
                counts = np.flatnonzero(coefficients)
                found.index_put_(
                    (torch.from_numpy(index[counts]).to(found.device),),
                    results[torch.from_numpy(counts).to(found.device)],
                    accumulate=True,
                )
            tainted = found.movedim(0, axis)
        return tainted

    return rule


def any_along(tainted: Tensor, axes: Sequence[int], keepdim: bool = False) -> Tensor:
    """`tainted.any(axes, keepdim)`, many times as fast on CPU."""
    return seen_once(tainted, axes).view(torch.uint8).amax(tuple(axes), keepdim).view(torch.bool)


def seen_once(tainted: Tensor, axes: Sequence[int]) -> Tensor:
    """Keep one element along each of the axes that was broadcast: all others are equal to it."""
    for axis in axes:
        if tainted.stride(axis) == 0 and tainted.shape[axis] > 1:
            tainted = tainted.narrow(axis, 0, 1)
    return tainted
