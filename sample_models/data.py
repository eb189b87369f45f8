"""Freshly rendered pictures as tensors. Held-out seeds never meet the training's."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sample_images.render import render_room, render_shapes

MEAN = [0.5, 0.5, 0.5]
STD = [0.25, 0.25, 0.25]
ROOM = 128  # the sides that the models are trained at
SHAPE = 96
BOXED = 128
HELD_OUT = 10_000_000  # the first seed of the held-out pictures

Map = Callable[[Callable[[int], Any], Iterable[int]], Iterable[Any]]  # such as a pool's


def pixels(rgb: list[NDArray[np.uint8]]) -> Tensor:
    """Bytes [N, 3, H, W]: a quarter of the memory of floats."""
    return torch.from_numpy(np.stack(rgb)).permute(0, 3, 1, 2).contiguous()


def to_input(image: Tensor) -> Tensor:
    """What the cards say: bytes to [0, 1], then minus mean, over std."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (image.float() / 255 - mean) / std


def rooms(
    seeds: Iterable[int], width: int = ROOM, height: int = ROOM, each: Map = map
) -> tuple[Tensor, Tensor]:
    """Images [N, 3, H, W] in bytes and depths [N, 1, H, W] in metres."""
    made = list(each(partial(render_room, width=width, height=height), seeds))
    depth = torch.from_numpy(np.stack([room.depth for room in made]))
    return pixels([room.rgb for room in made]), depth[:, None]


def shapes(seeds: Iterable[int], count: int = 1, each: Map = map) -> tuple[Tensor, Tensor]:
    """Images [N, 3, S, S] in bytes and the share of each class [N, 4] among their shapes."""
    made = list(each(partial(render_shapes, size=SHAPE, count=count), seeds))
    present = [[(drawn.mask == 1 + label).any() for label in range(4)] for drawn in made]
    return pixels([drawn.rgb for drawn in made]), torch.tensor(present) / count


def extent(mask: NDArray[np.uint8], label: int) -> list[float]:
    """The box x0, y0, x1, y1 of a shape in pixels, right and bottom exclusive; zeros for none."""
    rows, columns = np.nonzero(mask == 1 + label)
    if not len(rows):
        return [0.0] * 4
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return [float(x0), float(y0), float(x1), float(y1)]


def boxes(seeds: Iterable[int], count: int = 1, each: Map = map) -> tuple[Tensor, Tensor]:
    """Images [N, 3, S, S] in bytes and the box of each class [N, 4, 4]; zeros without it."""
    made = list(each(partial(render_shapes, size=BOXED, count=count), seeds))
    found = [[extent(drawn.mask, label) for label in range(4)] for drawn in made]
    return pixels([drawn.rgb for drawn in made]), torch.tensor(found)
