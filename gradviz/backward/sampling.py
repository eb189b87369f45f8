"""At which inputs the gradient is taken, and how the results become one: the table of points.

Every choice of points is a walk: it tells the inputs, round by round, and takes what came out at
each of them. Nothing is kept but the sum, so that memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gradviz.backward.integrated_gradients import Baseline, IntegratedGradients, Score
from gradviz.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


ZERO = Baseline("zero")

RANDOM_SEEDS = range(2**63)
"""What random numbers can be drawn from."""


@dataclass(frozen=True)
class Sampling:
    """The numbers that choose the points."""

    samples: int | None
    """How many; None for as many as it takes."""
    noise: float = 0.15
    """The standard deviation of noise, as a fraction of the input's own range."""
    baseline: Baseline = ZERO
    """Where a path begins."""
    random_seed: int = 0
    """Of the noise: every image gets the same draws, whatever other images there are."""


class Walk(Protocol):
    """The points of one image."""

    def rounds(self) -> Iterator[Iterator[Tensor]]:
        """The inputs [C, h, w]. What came out at a round's is taken before the next is asked for:
        it may depend on that."""

    def take(self, result: Tensor) -> None:
        """Take the result at the next point, in their order."""

    def result(self) -> Tensor:
        """What they make together, float64."""


WalkOf = Callable[["Tensor", Sampling, Score], Walk]


@dataclass(frozen=True)
class Points:
    """One row of the table of points."""

    name: str
    meaning: str
    least: int
    """The least number of samples that makes sense."""
    samples: int | None
    """The number of samples where the user gives none; None for as many as it takes."""
    options: frozenset[str]
    """The fields of `Sampling` that it looks at."""
    walk: WalkOf | None = None
    """`(x [C, h, w], sampling, score) -> a fresh walk`; None where the image itself is enough."""


class _Noisy:
    """Mean and variance in one pass, by Welford's update: no difference of large numbers."""

    def __init__(self, x: Tensor, sampling: Sampling, _score: Score) -> None:
        self._x, self._sampling = x, sampling
        self._count = 0
        self._mean = self._squares = x.double() * 0

    def rounds(self) -> Iterator[Iterator[Tensor]]:
        """All in one."""
        yield noisy(self._x, self._sampling)

    def take(self, result: Tensor) -> None:
        """Take the result at the next point."""
        self._count += 1
        before = result.double() - self._mean
        self._mean = self._mean + before / self._count
        self._squares = self._squares + before * (result.double() - self._mean)


class Mean(_Noisy):
    """SmoothGrad."""

    def result(self) -> Tensor:
        """The mean of what was taken."""
        return self._mean


class Variance(_Noisy):
    """VarGrad."""

    def result(self) -> Tensor:
        """The variance of what was taken: the mean square of the distance from the mean."""
        return self._squares / self._count


def noisy(x: Tensor, sampling: Sampling) -> Iterator[Tensor]:
    """Copies of x with Gaussian noise, drawn on the CPU one by one: alike in every batch size.

    Raises:
        UsageError: the noise is too large for the numbers of x.
    """
    import torch

    draws = torch.Generator().manual_seed(sampling.random_seed)
    sigma = sampling.noise * float(x.max() - x.min())
    for _ in range(sampling.samples or 0):
        copy = x + sigma * torch.randn(x.shape, generator=draws).to(x.device, x.dtype)
        if not copy.isfinite().all():
            raise UsageError(f"--noise {sampling.noise:g}: too large for {x.dtype}")
        yield copy


def _path(x: Tensor, sampling: Sampling, score: Score) -> IntegratedGradients:
    return IntegratedGradients(x, sampling.baseline.at(x), sampling.samples, score)


_NOISE = frozenset({"samples", "noise", "random_seed"})

POINTS: dict[str, Points] = {
    points.name: points
    for points in (
        Points("image", "the image itself", 1, 1, frozenset()),
        Points("noise", "the mean over noisy copies", 1, 32, _NOISE, Mean),
        Points("spread", "the variance over noisy copies", 2, 32, _NOISE, Variance),
        Points(
            "path",
            "the integral along a line from a baseline",
            1,
            None,
            frozenset({"samples", "baseline"}),
            _path,
        ),
    )
}
"""Every choice of points, by name."""
