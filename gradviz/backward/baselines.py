"""Where the path of Integrated Gradients begins: an input that stands for the absence of one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradviz.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def _zero(x: Tensor) -> Tensor:
    return x.new_zeros(x.shape)


def _mean(x: Tensor) -> Tensor:
    return x.mean((1, 2), keepdim=True).expand_as(x)


def _blur(x: Tensor) -> Tensor:
    rows, columns = (_blurring(size, min(x.shape[1:]) / 10).to(x) for size in x.shape[1:])
    return rows @ x @ columns.T


def _blurring(size: int, sigma: float) -> Tensor:
    """[size, size], float64: the weights of each place's neighbours along one axis, up to 3σ; the
    first and the last place stand for what is beyond them."""
    import torch

    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-(offsets.double() ** 2) / (2 * sigma**2))
    neighbours = (torch.arange(size)[:, None] + offsets).clamp(0, size - 1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, neighbours, (weights / weights.sum()).expand(neighbours.shape))


BASELINES: dict[str, Callable[[Tensor], Tensor]] = {"zero": _zero, "mean": _mean, "blur": _blur}
"""Baselines by name, each from an input [C, h, w]: 0 in the model's own numbers; each channel's
mean over the image; the image blurred by a Gaussian of σ = a tenth of its shorter side, cut off at
3σ."""


@dataclass(frozen=True)
class Baseline:
    """A parsed baseline."""

    spec: str
    """As the user wrote it."""
    values: Any = field(default=None, compare=False)
    """The array of its file; None for one that has a name."""

    @property
    def file(self) -> Path | None:
        """The file that it names, if it does."""
        return None if self.values is None else Path(self.spec)

    def at(self, x: Tensor) -> Tensor:
        """The baseline for one input [C, h, w], of its shape, type and device.

        Raises:
            UsageError: the file's array has another shape, or numbers too large for the model's.
        """
        import torch

        if self.values is None:
            return BASELINES[self.spec](x)
        if tuple(self.values.shape) not in (tuple(x.shape), (1, *x.shape)):
            raise UsageError(
                f"--baseline {self.spec}: its shape is {list(self.values.shape)}, the input's "
                f"{list(x.shape)}; give an array of the tensor that enters the model"
            )
        values = torch.as_tensor(self.values, dtype=x.dtype, device=x.device).reshape(x.shape)
        if not values.isfinite().all():
            raise UsageError(f"--baseline {self.spec}: holds numbers too large for {x.dtype}")
        return values


def parse_baseline(spec: str) -> Baseline:
    """A name of `BASELINES`, or a `.npy`, `.pt` or `.safetensors` file.

    Raises:
        UsageError: it is neither, or its values are not finite.
    """
    import numpy as np

    from gradviz.image.array import read_array

    if spec in BASELINES:
        return Baseline(spec)
    try:
        values = read_array(Path(spec))
    except UsageError as error:
        raise UsageError(f"--baseline: {error}; or give one of {', '.join(BASELINES)}") from None
    if not np.isfinite(values).all():
        raise UsageError(f"--baseline {spec}: holds NaN or Inf")
    return Baseline(spec, values)
