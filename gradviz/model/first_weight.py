"""The number of channels that a model takes, from the first weight that an image meets in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from gradviz.model.model import Model, deterministic
from gradviz.watch import Watch, arguments

Widths = tuple[int, int]
"""The number of channels that a weight takes, and the number that its input has."""


USUAL_CHANNELS = 3
"""The number of an image's channels if it is unknown."""

TRIED_SIDE = 224
"""The side in pixels of the input on which a model is tried."""


def channels_taken(model: Model) -> int:
    """Find the number of channels of an image for the model, from its first weight.

    The model is run on zeros of `USUAL_CHANNELS` channels, up to that weight. Operations before it
    may give it a multiple of these channels, for example if an image is cut into patches, or a few
    more, such as coordinates.
    """
    zeros = torch.zeros(
        1, USUAL_CHANNELS, TRIED_SIDE, TRIED_SIDE, device=model.device, dtype=model.dtype
    )
    first = FirstWeight()
    with suppress(Exception), deterministic(), first:  # zeros may not fit the model
        model(zeros)
    if first.widths is None:
        return USUAL_CHANNELS
    taken, met = first.widths
    multiple, beside = divmod(met, USUAL_CHANNELS)
    if beside == 0:
        return taken // multiple if taken % multiple == 0 else USUAL_CHANNELS
    return max(1, taken - beside) if multiple == 1 else USUAL_CHANNELS


class FirstWeight(Watch):  # type: ignore[no-untyped-call]
    """A mode that ends a forward pass at its first weight, and stores the weight's widths."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: Widths | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        widths_of = WIDTHS.get(func._schema.name.removeprefix("aten::"))
        if widths_of is not None and self.widths is None:
            self.widths = widths_of(arguments(func, args, kwargs))
        if self.widths is not None:
            raise _FoundError
        return func(*args, **kwargs)


class _FoundError(Exception):
    """The signal that the first weight was found, which ends the pass."""


def _convolution(given: Mapping[str, Any]) -> Widths | None:
    weight = given["weight"]
    if given["transposed"]:
        return weight.shape[0], given["input"].shape[1]
    return weight.shape[1] * given["groups"], given["input"].shape[1]


def _matrix(given: Mapping[str, Any]) -> Widths | None:
    rows = given["mat1"] if "mat1" in given else given["self"]
    return given["mat2"].shape[-2], rows.shape[-1]


def _of_each_channel(given: Mapping[str, Any]) -> Widths | None:
    """Return the width of numbers per channel, such as means to subtract; None without any."""
    image, numbers = given["self"], given["other"]
    if not isinstance(numbers, Tensor) or image.dim() != 4 or numbers.dim() not in (3, 4):
        return None
    count, *sides = numbers.shape[-3:]
    return (count, image.shape[1]) if sides == [1, 1] and count > 1 else None


WIDTHS: dict[str, Callable[[Mapping[str, Any]], Widths | None]] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "addmm": _matrix,
    "mm": _matrix,
    "bmm": _matrix,
    **dict.fromkeys(("add", "sub", "mul", "div", "add_", "sub_", "mul_", "div_"), _of_each_channel),
}
"""The widths of each operation that has a weight, from its arguments by name."""
