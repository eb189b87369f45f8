"""The table of points: the inputs at which the gradient is taken, and how the results are combined.

A sampler yields inputs in rounds and accumulates the gradient at each. It keeps sums only, so that
memory does not grow with the number of samples.

Sources:
    SmoothGrad: Smilkov et al. 2017, arXiv:1706.03825
    VarGrad: Adebayo et al. 2018, arXiv:1810.03307
    mean and variance in one pass: Welford 1962, doi:10.1080/00401706.1962.10490022
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gradviz.backward.integrated_gradients import MOST_POINTS, Baseline, IntegratedGradients, Score
from gradviz.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


ZERO = Baseline("zero")

RANDOM_SEEDS = range(2**63)
"""The seeds that random numbers can be drawn from."""


@dataclass(frozen=True)
class Sampling:
    """The numbers that choose the points."""

    samples: int | None
    """The number of points; None to find it on the way, up to `most`."""
    noise: float = 0.15
    """The standard deviation of noise, as a fraction of the input's own range."""
    baseline: Baseline = ZERO
    """The start of a path."""
    random_seed: int = 0
    """The seed of the noise: every image gets the same draws, independent of the other images."""

    @property
    def most(self) -> int:
        """The number of points, or the most that it may come to."""
        return MOST_POINTS if self.samples is None else self.samples


class Sampler(Protocol):
    """The points around one image, and the sum of the gradients at them."""

    def rounds(self) -> Iterator[Iterator[Tensor]]:
        """Yield the inputs [C, h, w], round by round.

        A round may depend on the gradients of those before: `update` receives all of them before
        the next round begins.
        """

    def update(self, gradient: Tensor) -> None:
        """Add the gradient at the next point, in the order of the points.

        Args:
            gradient: [C, h, w].
        """

    def result(self) -> Tensor:
        """Return the array that the gradients make together, [C, h, w], float64."""


MakeSampler = Callable[["Tensor", Sampling, Score], Sampler]


@dataclass(frozen=True)
class Points:
    """One row of the table of points."""

    name: str
    meaning: str
    least: int
    """The least number of samples that makes sense."""
    samples: int | None
    """The number of samples if the user gives none; None to find it on the way."""
    options: frozenset[str]
    """The fields of `Sampling` that it uses."""
    sampler: MakeSampler | None = None
    """`(x [C, h, w], sampling, score) -> a fresh sampler`; None if the image itself is enough."""


class _NoiseSampler:
    """A sampler of mean and variance in one pass, by Welford's update, without cancellation."""

    def __init__(self, x: Tensor, sampling: Sampling, _score: Score) -> None:
        self._x, self._sampling = x, sampling
        self._count = 0
        self._mean = self._squares = x.double() * 0

    def rounds(self) -> Iterator[Iterator[Tensor]]:
        """Yield all noisy copies in one round."""
        yield noisy(self._x, self._sampling)

    def update(self, gradient: Tensor) -> None:
        """Add the gradient at the next noisy copy."""
        self._count += 1
        before = gradient.double() - self._mean
        self._mean = self._mean + before / self._count
        self._squares = self._squares + before * (gradient.double() - self._mean)


class SmoothGrad(_NoiseSampler):
    """The mean gradient over noisy copies."""

    def result(self) -> Tensor:
        """Return the mean of the gradients."""
        return self._mean


class VarGrad(_NoiseSampler):
    """The variance of the gradient over noisy copies."""

    def result(self) -> Tensor:
        """Return the variance of the gradients: the mean square of the distance from their mean."""
        return self._squares / self._count


def noisy(x: Tensor, sampling: Sampling) -> Iterator[Tensor]:
    """Yield noisy copies of x. The Gaussian noise is the same for every batch size and device.

    Args:
        x: the input [C, h, w].
        sampling: the number of copies, the size of the noise, and the random seed.

    Raises:
        UsageError: the noise is too large for the numbers of x.
    """
    import torch

    # Drawn on the CPU one by one, since random numbers depend on the device and the batch size.
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
        Points("noise", "the mean over noisy copies", 1, 32, _NOISE, SmoothGrad),
        Points("spread", "the variance over noisy copies", 2, 32, _NOISE, VarGrad),
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
