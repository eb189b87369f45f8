"""The table of seeds: how each is written, what it means, and the cotangent that it makes.

To add a seed, write a function `(planes, site, *values) -> v` and a row of `KINDS`. The parser, the
help text, the messages and the documentation read the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradviz.errors import SeedError, UsageError
from gradviz.seeds.answers import ranked
from gradviz.seeds.array_files import ArrayFile, ArrayFolder, array_folder, read_file
from gradviz.seeds.boxes import BOX_NUMBERS, best_of_class, every, numbered
from gradviz.seeds.class_names import class_index
from gradviz.seeds.losses import LOSSES
from gradviz.seeds.outputs import OutputKind
from gradviz.seeds.places import Part, Site, at_box, check_index, part_of, pixel_box, region_box
from gradviz.text import nearest

if TYPE_CHECKING:
    from torch import Tensor

    from gradviz.arrays import Array, Box, Mask, Size


@dataclass(frozen=True)
class Kind:
    """One row of the table of seeds."""

    name: str
    argument: str
    """The form of what follows the colon, as help and messages show it; empty for none."""
    meaning: str
    outputs: frozenset[OutputKind]
    """The outputs that it fits."""
    parse: Callable[[str], tuple[Any, ...]]
    """The parser of the text after the colon; raises ValueError if the text does not fit."""
    build: Callable[..., Tensor] | None = None
    """`(planes [C, H, W], site, *values) -> v [C, H, W]`; raises SeedError. None if it fits
    detections only."""
    box: Callable[..., Box] | None = None
    """`(size of the map, site, *values) -> the bounding box of v's non-zero part`; raises
    SeedError. None if the size alone does not determine a box."""
    inside: Callable[..., Mask] | None = None
    """`(size of the map, site, *values) -> the output pixels that it asks about, [H, W]`, if they
    are some and no box. None for a row with a box, or one that is about the whole map."""
    names_file: Callable[[str], bool] = lambda argument: False
    """True if the text after the colon names a file, which `parse` reads."""
    names_class: bool = False
    """True if its last value may be a class: an `int`, or a `str` that is one of the labels."""
    takes: Callable[..., int | None] | None = None
    """`(planes [C, H, W], site, *values) -> the number of the one class whose output it takes`, if
    it takes one. None if it never does."""
    measures: Callable[..., float] | None = None
    """`(planes [C, H, W], site, *values) -> the number whose gradient v makes`, if that is not
    ⟨v, y⟩; of a part of the map its share of it."""
    picks: Callable[..., list[int]] | None = None
    """`(rows [K, 7], site, *values) -> the numbers of the detections that it is about`; raises
    SeedError. None if it does not fit detections."""

    @property
    def form(self) -> str:
        """The spec's form, such as `pixel:X,Y[,C]` or `top[:N]`."""
        if self.argument.startswith("["):
            return f"{self.name}[:{self.argument[1:]}"
        return f"{self.name}:{self.argument}" if self.argument else self.name


# The text after the colon: str → values -----------------------------------------------------------


def _nothing(argument: str) -> tuple[()]:
    if argument:
        raise ValueError
    return ()


def _whole_numbers(least: int, most: int) -> Callable[[str], tuple[int, ...]]:
    def parse(argument: str) -> tuple[int, ...]:
        numbers = tuple(int(part) for part in argument.split(",")) if argument else ()
        if not least <= len(numbers) <= most:
            raise ValueError
        return numbers

    return parse


def _class(argument: str) -> tuple[int | str]:
    if not argument:
        raise ValueError
    try:
        return (int(argument),)
    except ValueError:
        return (argument,)


def _box(argument: str) -> tuple[int | tuple[int, int], str | None]:
    first, *rest = argument.split(":")
    place: int | tuple[int, int]
    if first == "at":
        x, y = (int(number) for number in "".join(rest[:1]).split(","))
        place, rest = (x, y), rest[1:]
    else:
        place = int(first)
    side = rest.pop(0) if rest else None
    if rest or side not in (None, *BOX_NUMBERS):
        raise ValueError
    return place, side


def _mask_file(argument: str) -> tuple[ArrayFile]:
    from gradviz.image.mask import read_mask

    return (read_file(argument, read_mask),)


def _tensor_file(argument: str) -> tuple[ArrayFile]:
    from gradviz.image.array import read_array

    return (read_file(argument, read_array),)


def _loss_target(argument: str) -> tuple[str, int | str | ArrayFile | ArrayFolder]:
    name, _, target = argument.partition("=")
    if name not in LOSSES:
        hint = nearest(name, LOSSES, f"use one of {', '.join(LOSSES)}")
        raise UsageError(f"no loss is called {name!r}; {hint}")
    if LOSSES[name].by_class:
        return name, _class(target)[0]
    if target and Path(target).is_dir():
        return name, array_folder(Path(target))
    return name, _tensor_file(target)[0]


def _named(argument: str) -> bool:
    return True


def _target_named(argument: str) -> bool:
    loss = LOSSES.get(argument.partition("=")[0])
    return loss is not None and not loss.by_class


# The cotangents: planes [C, H, W] → v [C, H, W] ---------------------------------------------------


def _ones(planes: Tensor, site: Site) -> Tensor:
    return planes.new_ones(planes.shape)


def _one_class(planes: Tensor, site: Site, name: int | str) -> Tensor:
    return _channel(planes, site, _class_taken(planes, site, name))


def _class_taken(planes: Tensor, site: Site, name: int | str) -> int:
    return name if isinstance(name, int) else class_index(name, site.labels)


def _channel(planes: Tensor, site: Site, channel: int) -> Tensor:
    check_index("channel", channel, len(planes))
    v = planes.new_zeros(planes.shape)
    v[channel] = 1.0
    return v


def _top(planes: Tensor, site: Site, rank: int = 1) -> Tensor:
    if not 1 <= rank <= len(planes):
        raise SeedError(f"rank {rank} is outside the {len(planes)} classes: 1 to {len(planes)}")
    return planes.new_zeros(planes.shape).scatter_(0, ranked(planes)[rank - 1 : rank], 1.0)


def _top_taken(planes: Tensor, site: Site, rank: int = 1) -> int | None:
    """Return the class of that rank; None on a map, where each place has its own."""
    if part_of(planes, site).of != (1, 1):
        return None
    return int(ranked(planes)[rank - 1])


def _predicted(planes: Tensor, site: Site, channel: int) -> Tensor:
    return _channel(planes, site, channel) * _top(planes, site)


def _within(box: Callable[..., Box], numbers: int) -> Callable[..., Tensor]:
    """Make a builder: 1 in the box of the first `numbers` values, on the channel after them."""

    def build(planes: Tensor, site: Site, *values: int) -> Tensor:
        part = part_of(planes, site)
        x0, y0, x1, y1 = box(part.of, site, *values)
        left, top, _, _ = part.box
        window = planes.new_zeros(planes.shape)
        window[:, max(0, y0 - top) : max(0, y1 - top), max(0, x0 - left) : max(0, x1 - left)] = 1.0
        return window * _channel(planes, site, *values[numbers:]) if values[numbers:] else window

    return build


def _mask(planes: Tensor, site: Site, mask: ArrayFile) -> Tensor:
    import torch

    weights = _resized(mask.values, part_of(planes, site))
    return torch.as_tensor(weights, dtype=planes.dtype, device=planes.device).expand_as(planes)


def _inside_mask(size: Size, site: Site, mask: ArrayFile) -> Mask:
    inside: Mask = _resized(mask.values, Part((0, 0, *size), size)) != 0
    return inside


def _resized(values: Array, part: Part) -> Array:
    """Sample an array [H, W] at the pixels of a part of the output map."""
    import numpy as np

    x0, y0, x1, y1 = part.box
    # The nearest pixel is the one that holds the centre. Computed in integers, so that parts of a
    # map agree with the whole map.
    columns, rows = (
        (2 * np.arange(start, stop) + 1) * length // (2 * size)
        for start, stop, length, size in zip(
            (x0, y0), (x1, y1), reversed(values.shape), part.of, strict=True
        )
    )
    sampled: Array = values[rows[:, None], columns]
    return sampled


def _tensor(planes: Tensor, site: Site, file: ArrayFile) -> Tensor:
    # Compared without leading axes of length one, so that a saved [1, C, H, W] fits one image.
    import numpy as np
    import torch

    whole = tuple(planes.shape)
    if site.part is not None:
        whole = (whole[0], *reversed(site.part.of))
    given, wanted = file.values.shape, whole
    if wanted[1:] == (1, 1) and len(given) < 3:  # class scores
        wanted = wanted[:1]
    if _trimmed(given) != _trimmed(wanted):
        raise SeedError(f"the file's shape is {list(given)}, one image's output {list(wanted)}")
    values = file.values.reshape(whole)
    if site.part is not None:
        x0, y0, x1, y1 = site.part.box
        values = values[:, y0:y1, x0:x1]
    v = torch.as_tensor(values, dtype=planes.dtype, device=planes.device)
    if np.isfinite(values).all() and not v.isfinite().all():
        raise SeedError(f"the file holds numbers that are too large for {planes.dtype}")
    return v


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if not shape or shape[0] != 1 else _trimmed(shape[1:])


def _loss(planes: Tensor, site: Site, name: str, target: int | str | ArrayFile) -> Tensor:
    wanted = _wanted(planes, site, name, target)
    return LOSSES[name].slope(planes, wanted) * _share(planes, site)


def _loss_value(planes: Tensor, site: Site, name: str, target: int | str | ArrayFile) -> float:
    wanted = _wanted(planes, site, name, target)
    return float(LOSSES[name].value(planes.double(), wanted.double())) * _share(planes, site)


def _wanted(planes: Tensor, site: Site, name: str, target: int | str | ArrayFile) -> Tensor:
    """Shape the target of a loss like the output."""
    if isinstance(target, int | str):
        if len(planes) < 2:
            raise SeedError(f"{name} needs class scores, but the output has one channel")
        wanted = _one_class(planes, site, target)
    else:
        wanted = _tensor(planes, site, target)
        if not wanted.isfinite().all():
            raise SeedError("the target holds NaN or Inf; replace them with the wanted values")
    return wanted


def _share(planes: Tensor, site: Site) -> float:
    """Compute the share of the whole map that planes are, for a mean over it."""
    width, height = part_of(planes, site).of
    return planes[0].numel() / (width * height)


# The table ----------------------------------------------------------------------------------------
_ANY = frozenset(OutputKind)
_TENSORS = _ANY - {OutputKind.DETECTIONS}
_PLANES = frozenset({OutputKind.SCORES, OutputKind.DENSE})
_DENSE = frozenset({OutputKind.DENSE})
_BOXES = frozenset({OutputKind.DETECTIONS})

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "ones",
            "",
            "1 everywhere: the gradient of the sum of the output (default for dense outputs); on a "
            "detector, 1 on the score of every detection",
            _ANY,
            _nothing,
            _ones,
            picks=every,
        ),
        Kind(
            "class",
            "K|NAME",
            "1 on class K, a number or a name; on a dense output, channel K everywhere",
            _PLANES,
            _class,
            _one_class,
            names_class=True,
            takes=_class_taken,
        ),
        Kind(
            "top",
            "[N]",
            "1 on the class ranked first (N-th) for this image (default for class scores); on a "
            "dense output, on each pixel's winning channel",
            _PLANES,
            _whole_numbers(0, 1),
            _top,
            takes=_top_taken,
        ),
        Kind(
            "predicted",
            "K",
            "1 on channel K at the pixels where it wins",
            _DENSE,
            _whole_numbers(1, 1),
            _predicted,
        ),
        Kind(
            "pixel",
            "X,Y[,C]",
            "1 at that output pixel, on channel C or on all",
            _DENSE,
            _whole_numbers(2, 3),
            _within(pixel_box, 2),
            pixel_box,
        ),
        Kind(
            "at",
            "X,Y[,C]",
            "1 at the output pixel that covers this pixel of the image file",
            _DENSE,
            _whole_numbers(2, 3),
            _within(at_box, 2),
            at_box,
        ),
        Kind(
            "region",
            "X0,Y0,X1,Y1[,C]",
            "1 in the box, right and bottom exclusive",
            _DENSE,
            _whole_numbers(4, 5),
            _within(region_box, 4),
            region_box,
        ),
        Kind(
            "channel", "C", "1 on that channel everywhere", _PLANES, _whole_numbers(1, 1), _channel
        ),
        Kind(
            "mask",
            "FILE",
            "a picture's gray levels / 255, or an array as it is, resized to the output (nearest)",
            _DENSE,
            _mask_file,
            _mask,
            inside=_inside_mask,
            names_file=_named,
        ),
        Kind(
            "tensor",
            "FILE",
            "any cotangent: .npy, .pt or .safetensors of the output's shape",
            _TENSORS,
            _tensor_file,
            _tensor,
            names_file=_named,
        ),
        Kind(
            "loss",
            "NAME=TARGET",
            "the gradient of a loss, its mean over the output: ce=CLASS (cross entropy), mse=FILE, "
            "l1=FILE; the file of an array, or a folder of them by the images' names",
            _PLANES,
            _loss_target,
            _loss,
            measures=_loss_value,
            names_file=_target_named,
            names_class=True,
        ),
        Kind(
            "box",
            f"N|at:X,Y[:{'|'.join(BOX_NUMBERS)}]",
            "1 on the score of the N-th detection, from 0 by falling score (default for detectors: "
            "box:0), or of the best one over that pixel of the image file; or on one number of its "
            "box",
            _BOXES,
            _box,
            picks=numbered,
        ),
        Kind(
            "object",
            "K|NAME",
            "1 on the score of the best detection of class K, a number or a name",
            _BOXES,
            _class,
            names_class=True,
            picks=best_of_class,
        ),
    )
}
"""Every seed, by name, in the order of the documentation."""
