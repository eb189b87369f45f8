"""Operators that only move elements: views, slices, joins and shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gradviz.field.reach.arguments import Shape
from gradviz.field.reach.call import Call, Reach
from gradviz.field.reach.extents import Untold


def viewed(call: Call) -> Reach:
    return call.reach("self").reshaped(tuple(call.given["self"].shape), call.shape)


def permuted(call: Call) -> Reach:
    rank = len(call.shape)
    order = list(range(rank))
    if call.name == "permute":
        order = [axis % rank for axis in call.given["dims"]]
    elif rank > 1:
        one, two = call.given.get("dim0", 0), call.given.get("dim1", 1)
        order[one], order[two] = order[two], order[one]
    return call.reach("self").each(lambda e: e.each(lambda array: array.transpose(order)))


def expanded(call: Call) -> Reach:
    lead = (1,) * (len(call.shape) - call.given["self"].dim())
    return call.reach("self").each(
        lambda e: e.each(lambda array: array.reshape(lead + array.shape))
    )


def slice_of(call: Call) -> tuple[int, Any]:
    """The axis that is sliced, and the places that are kept."""
    axis, size = call.given["dim"], call.given["self"].shape[call.given["dim"]]
    bounds = slice(call.given["start"], call.given["end"], call.given["step"])
    return axis, np.arange(size)[bounds]


def sliced(call: Call) -> Reach:
    return call.reach("self").taken(*slice_of(call))


def selected(call: Call) -> Reach:
    axis, index = call.given["dim"], call.given["index"]
    found = call.reach("self").taken(axis, [index])
    return found.each(lambda e: e.each(lambda array: array.squeeze(axis)))


def parted(call: Call) -> list[Reach | None]:
    axis, start = call.given["dim"], 0
    found: list[Reach | None] = []
    for shape in call.shapes:
        if call.name == "unbind":
            part = call.reach("self").taken(axis, [start])
            found.append(part.each(lambda e: e.each(lambda array: array.squeeze(axis))))
            start += 1
        else:
            found.append(call.reach("self").taken(axis, np.arange(start, start + shape[axis])))
            start += shape[axis]
    return found


def concatenated(call: Call) -> Reach:
    axis = call.given["dim"]
    tensors = [each for each in call.given["tensors"] if each.numel()]
    if call.name == "stack":
        axis %= len(call.shape)
    reaches = []
    for tensor in tensors:
        value = call.value_of(tensor)
        if not isinstance(value, Reach):
            raise Untold(f"{call.name} with a constant")
        shape = tuple(tensor.shape)
        if call.name == "stack":
            longer = (*shape[:axis], 1, *shape[axis:])
            value, shape = value.reshaped(shape, longer), longer
        reaches.append((value, shape))
    return joined(reaches, axis)


def joined(reaches: Sequence[tuple[Reach, Shape]], axis: int) -> Reach:
    """The reach of tensors of these shapes that are joined along an axis."""
    lines = []
    for name in ("x", "y"):
        parts = [getattr(reach, name) for reach, _ in reaches]
        first = parts[0]
        if (
            any(part.shape != first.shape or not (part.name == first.name).all() for part in parts)
            or first.shape[axis] > 1
        ):
            rank = len(first.shape)
            common = [
                max(part.shape[other] for part in parts) if other != axis % rank else 1
                for other in range(rank)
            ]
            opened = []
            for part, (_, shape) in zip(parts, reaches, strict=True):
                for other in range(rank):
                    if other == axis % rank or common[other] > 1:
                        part = part.opened(other, shape[other])
                opened.append(part)
            lows, highs, names = zip(*(part.arrays for part in opened), strict=True)
            first = type(first)(*(np.concatenate(a, axis) for a in (lows, highs, names)))
        lines.append(first)
    return Reach(*lines)


def rolled(call: Call) -> Reach:
    found = call.reach("self")
    if not call.given["dims"]:
        raise Untold("roll of all axes at once")
    for axis, shift in zip(call.given["dims"], call.given["shifts"], strict=True):
        size = call.shape[axis]
        found = found.taken(axis, (np.arange(size) - shift) % size)
    return found


def flipped(call: Call) -> Reach:
    found = call.reach("self")
    for axis in call.given["dims"]:
        found = found.taken(axis, np.arange(call.shape[axis])[::-1])
    return found


def repeated(call: Call) -> Reach:
    repeats = call.given["repeats"]
    lead = (1,) * (len(repeats) - call.given["self"].dim())
    sizes = lead + tuple(call.given["self"].shape)
    found = call.reach("self").each(lambda e: e.each(lambda a: a.reshape(lead + a.shape)))
    for axis, times in enumerate(repeats):
        found = found.taken(axis, np.tile(np.arange(sizes[axis]), times))
    return found


def picked(call: Call) -> Reach:
    index = call.given["index"]
    if index.is_meta:
        raise Untold(f"{call.name} with computed indices")
    return (
        call.reach("self").taken(call.given["dim"], index.cpu().numpy()).salted(call.key("index"))
    )


def indexed(call: Call) -> Reach:
    given = [(axis, each) for axis, each in enumerate(call.given["indices"]) if each is not None]
    if len(given) != 1 or given[0][1].dim() != 1 or given[0][1].is_meta:
        raise Untold("index with several or computed indices")
    axis, index = given[0]
    if index.dtype == torch.bool:
        raise Untold("index with a mask")
    return call.reach("self").taken(axis, index.cpu().numpy())


def shuffled(call: Call) -> Reach:
    *lead, channels, height, width = call.given["self"].shape
    (factor,) = (call.given[name] for name in call.given if name.endswith("scale_factor"))
    found = call.reach("self")
    sizes: Shape
    if call.name == "pixel_shuffle":
        sizes = (*lead, channels // factor**2, factor, factor, height, width)
        order = (0, 3, 1, 4, 2)
    else:
        sizes = (*lead, channels, height // factor, factor, width // factor, factor)
        order = (0, 2, 4, 1, 3)
    n = len(lead)
    found = found.reshaped((*lead, channels, height, width), sizes)
    whole = (*range(n), *(n + axis for axis in order))
    found = found.each(lambda e: e.each(lambda array: array.transpose(whole)))
    return found.reshaped(tuple(sizes[axis] for axis in whole), call.shape)


def regrouped(call: Call) -> Reach:
    batch, channels, *rest = call.given["self"].shape
    groups = call.given["groups"]
    sizes = (batch, groups, channels // groups, *rest)
    found = call.reach("self").reshaped((batch, channels, *rest), sizes)
    found = found.each(lambda e: e.each(lambda array: array.swapaxes(1, 2)))
    return found.reshaped((batch, channels // groups, groups, *rest), call.shape)
