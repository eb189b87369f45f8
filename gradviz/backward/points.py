"""At which inputs the gradient is taken, and how the results become one: the table of points.

Every choice of points is two functions: the inputs, one after the other, and a sum that takes what
came out at each of them. Nothing is kept but the sum, so that memory does not grow with the number
of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gradviz.backward.baselines import Baseline

if TYPE_CHECKING:
    from torch import Tensor


ZERO = Baseline("zero")


@dataclass(frozen=True)
class Sampling:
    """The numbers that choose the points."""

    samples: int
    """How many."""
    noise: float = 0.15
    """The standard deviation of noise, as a fraction of the input's own range."""
    baseline: Baseline = ZERO
    """Where a path begins."""
    random_seed: int = 0
    """Of the noise: every image gets the same draws, whatever other images there are."""


class Total(Protocol):
    """What takes the results at the points, in their order."""

    def add(self, result: Tensor) -> None:
        """Take the result at the next point."""

    def result(self) -> Tensor:
        """What they make together, float64."""


@dataclass(frozen=True)
class Points:
    """One row of the table of points."""

    name: str
    meaning: str
    least: int
    """The least number of samples that makes sense."""
    samples: int
    """The number of samples where the user gives none."""
    options: frozenset[str]
    """The fields of `Sampling` that it looks at."""
    inputs: Callable[[Tensor, Sampling], Iterator[Tensor]]
    """`(x [C, h, w], sampling) -> inputs [C, h, w]`."""
    total: Callable[[Tensor, Sampling], Total]
    """`(x, sampling) -> a fresh sum`."""
    path: bool = False
    """Whether the points lie on a path from a baseline, so that there is a gap to measure."""


class _Moments:
    """Mean and variance in one pass, by Welford's update: no difference of large numbers."""

    def __init__(self, x: Tensor, sampling: Sampling) -> None:
        self._count = 0
        self._mean = x.double() * 0
        self._squares = x.double() * 0

    def add(self, result: Tensor) -> None:
        """Take the result at the next point."""
        self._count += 1
        before = result.double() - self._mean
        self._mean = self._mean + before / self._count
        self._squares = self._squares + before * (result.double() - self._mean)


class Mean(_Moments):
    """SmoothGrad."""

    def result(self) -> Tensor:
        """The mean of what was taken."""
        return self._mean


class Variance(_Moments):
    """VarGrad."""

    def result(self) -> Tensor:
        """The variance of what was taken: the mean square of the distance from the mean."""
        return self._squares / self._count


def noisy(x: Tensor, sampling: Sampling) -> Iterator[Tensor]:
    """Copies of x with Gaussian noise, drawn on the CPU one by one: alike in every batch size."""
    import torch

    draws = torch.Generator().manual_seed(sampling.random_seed)
    sigma = sampling.noise * float(x.max() - x.min())
    for _ in range(sampling.samples):
        yield x + sigma * torch.randn(x.shape, generator=draws).to(x.device, x.dtype)


def nodes(samples: int) -> list[tuple[float, float]]:
    """Places and weights of Gauss–Legendre quadrature on [0, 1]."""
    import numpy as np

    places, weights = np.polynomial.legendre.leggauss(samples)
    return [(float(1 + p) / 2, float(w) / 2) for p, w in zip(places, weights, strict=True)]


def path(x: Tensor, sampling: Sampling) -> Iterator[Tensor]:
    """Points on the straight line from the baseline to x."""
    start = sampling.baseline.at(x)
    for place, _ in nodes(sampling.samples):
        yield start + place * (x - start)


class Integral:
    """The gradient integrated along the path, times the path."""

    def __init__(self, x: Tensor, sampling: Sampling) -> None:
        self._way = x.double() - sampling.baseline.at(x).double()
        self._weights = iter(nodes(sampling.samples))
        self._sum: Tensor = self._way * 0

    def add(self, result: Tensor) -> None:
        """Take the gradient at the next node."""
        _, weight = next(self._weights)
        self._sum = self._sum + weight * result.double()

    def result(self) -> Tensor:
        """The attribution of each input value."""
        return self._way * self._sum


_NOISE = frozenset({"samples", "noise", "random_seed"})

POINTS: dict[str, Points] = {
    points.name: points
    for points in (
        Points("image", "the image itself", 1, 1, frozenset(), lambda x, _: iter([x]), Mean),
        Points("noise", "the mean over noisy copies", 1, 32, _NOISE, noisy, Mean),
        Points("spread", "the variance over noisy copies", 2, 32, _NOISE, noisy, Variance),
        Points(
            "path",
            "the integral along a line from a baseline",
            1,
            64,
            frozenset({"samples", "baseline"}),
            path,
            Integral,
            path=True,
        ),
    )
}
"""Every choice of points, by name."""
