"""Taint: bool tensors that say which elements can matter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Shape = tuple[int, ...]


def unbroadcast(tainted: Tensor, shape: Shape) -> Tensor:
    """Back to the shape that something had before it was broadcast."""
    if tainted.shape == shape:
        return tainted
    # Numbers add up to more than 0 where bytes might add up to 256.
    return tainted.float().sum_to_size(shape) > 0


def any_along(tainted: Tensor, axes: Sequence[int], keepdim: bool = False) -> Tensor:
    """`tainted.any(axes, keepdim)`, many times as fast on CPU."""
    return seen_once(tainted, axes).view(torch.uint8).amax(tuple(axes), keepdim).view(torch.bool)


def seen_once(tainted: Tensor, axes: Sequence[int]) -> Tensor:
    """With one element along those of the axes that it was broadcast to: all others are equal."""
    for axis in axes:
        if tainted.stride(axis) == 0 and tainted.shape[axis] > 1:
            tainted = tainted.narrow(axis, 0, 1)
    return tainted


def touched(tainted: Tensor) -> bool:
    """Whether anything is tainted."""
    return bool(seen_once(tainted, range(tainted.dim())).any())


def covers(tainted: Tensor) -> bool:
    """Whether every place of a map of more than one place is tainted.

    In a map [N, C, ...] of two or more axes in space, one channel is enough. Tokens [N, L, C] and
    sequences [N, C, L] look the same, so that all of them must be tainted.
    """
    if tainted.dim() < 3 or (tainted.dim() == 3 and 1 in tainted.shape[1:]):
        return False
    places = any_along(tainted, [1]) if tainted.dim() > 3 else tainted
    return places.numel() > 1 and bool(seen_once(places, range(places.dim())).all())
