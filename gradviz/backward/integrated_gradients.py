"""Integrated Gradients: the gradient integrated along the line from a baseline to the image.

Sources:
    the method and its completeness: Sundararajan, Taly and Yan 2017, arXiv:1703.01365
    Gauss–Legendre quadrature: Golub and Welsch 1969, doi:10.1090/S0025-5718-69-99647-1
    baselines and what they change: Sturmfels, Lundberg and Lee 2020, doi:10.23915/distill.00022
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradviz.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Score = Callable[["Tensor"], float]
"""The function x [C, h, w] → ⟨v, f(x)⟩ for one input."""

TOLERANCE = 1e-3
"""The largest completeness gap that counts as complete, as a share of the output's change."""

GAP = 0.05
"""The completeness gap, as a share of the output's change, above which a warning is given."""

MOST_POINTS = 256
"""The most points that are taken if no number of samples is given."""

PANELS, NODES, NARROWEST = 8, 8, 1 / 1024
"""The panels of the line at the start, the nodes of each panel, and the least width of a panel, if
no number of samples is given."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One piece of the line, with the gradients at its nodes."""

    low: float
    """The begin of the piece, as a fraction of the line."""
    high: float
    """The end of the piece."""
    integral: Tensor
    """The gradient integrated over it, float64."""
    gap: float
    """The output's change from its beginning to its end, less what `integral` accounts for."""

    @property
    def divisible(self) -> bool:
        """True if it may be halved. A leap of the output has no gradient that halves would find."""
        return self.high - self.low > NARROWEST


class IntegratedGradients:
    """A sampler of the points on the line from the baseline to the image.

    With a number of samples, that many nodes lie on the whole line. Without one, the panel with the
    largest gap is halved until the gap is `TOLERANCE` of the output's change at the end of the line
    and at the end of each panel, so that it is not small by chance. `MOST_POINTS` points end it
    too. The ReLUs of a network are kinks on the line, which nodes spread over all of it resolve
    slowly; a smooth network needs the first panels only.
    """

    def __init__(self, x: Tensor, start: Tensor, samples: int | None, score: Score) -> None:
        self._x, self._start = x, start
        self._delta = x.double() - start.double()
        self._samples = samples
        self._score = cache(lambda place: score(self._at(place)))
        self._sum = self._panel = self._delta * 0
        self._weights: Iterator[float] = iter(())
        self._count = 0

    def rounds(self) -> Iterator[Iterator[Tensor]]:
        """Yield the inputs of each panel that is tried."""
        if self._samples is not None:
            yield self._nodes(0, 1, self._samples)
            self._sum = self._panel
            return
        allowed, panels = self._allowed(), list[Panel]()
        for n in range(PANELS):
            yield from self._taken(n / PANELS, (n + 1) / PANELS, panels)
        while self._count + 2 * NODES <= MOST_POINTS and _largest_gap(panels) > allowed:
            worst = max(filter(lambda each: each.divisible, panels), key=lambda each: abs(each.gap))
            middle = (worst.low + worst.high) / 2
            panels.remove(worst)
            yield from self._taken(worst.low, middle, panels)
            yield from self._taken(middle, worst.high, panels)
        self._sum = sum((each.integral for each in panels), start=self._sum)

    def _taken(self, low: float, high: float, panels: list[Panel]) -> Iterator[Iterator[Tensor]]:
        """Yield the inputs of one panel, and add the panel to the others in its place."""
        yield self._nodes(low, high, NODES)
        explained = float((self._delta * self._panel).sum())
        gap = self._score(high) - self._score(low) - explained
        insort(panels, Panel(low, high, self._panel, gap), key=lambda each: each.low)

    def completeness(self, total: float, after: float) -> tuple[float, tuple[str, ...]]:
        """Measure the gap ⟨v, f(x) − f(baseline)⟩ − Σ attribution, and warn if it is large.

        Args:
            total: Σ attribution, as it will be written.
            after: ⟨v, f(x)⟩.

        Returns:
            the gap, and the warnings.
        """
        before = self._score(0)
        change = after - before
        gap = change - total
        if not math.isfinite(gap):
            return gap, (
                "the model is NaN or Inf at the baseline or on the way from it, so that "
                "completeness has no meaning: give another --baseline",
            )
        if abs(gap) <= max(GAP * abs(change), rounding(self._x, before, after)):
            return gap, ()
        return gap, (
            f"the attribution adds up to {change - gap:.4g}, not to the output's change "
            f"{change:.4g} since the baseline: give more --samples than {self._count}, or another "
            "--baseline",
        )

    def update(self, gradient: Tensor) -> None:
        """Add the gradient at the next node."""
        self._count += 1
        self._panel = self._panel + next(self._weights) * gradient.double()

    def result(self) -> Tensor:
        """Return the attribution of each input value, float64."""
        return self._delta * self._sum

    def _at(self, place: float) -> Tensor:
        return self._start + place * (self._x - self._start)

    def _nodes(self, low: float, high: float, count: int) -> Iterator[Tensor]:
        """Yield the inputs of one panel, whose gradients are expected next."""
        self._panel = self._delta * 0
        self._weights = iter([(high - low) * weight for _, weight in nodes(count)])
        return (self._at(low + (high - low) * place) for place, _ in nodes(count))

    def _allowed(self) -> float:
        """Return the gap that passes: no smaller than the rounding error of the change."""
        first, last = self._score(0), self._score(1)
        return max(TOLERANCE * abs(last - first), rounding(self._x, first, last))


def _largest_gap(panels: Iterable[Panel]) -> float:
    """Find the largest gap from the baseline to the end of a panel.

    Leaps are left out. A gap that is NaN counts as 0, since no smaller panel removes it.
    """
    gaps = list(accumulate((each.gap for each in panels if each.divisible), initial=0.0))
    return max(map(abs, gaps)) if math.isfinite(gaps[-1]) else 0.0


@cache
def nodes(count: int) -> tuple[tuple[float, float], ...]:
    """Compute the places and weights of Gauss–Legendre quadrature on [0, 1]."""
    import numpy as np

    places, weights = np.polynomial.legendre.leggauss(count)
    return tuple((float(1 + p) / 2, float(w) / 2) for p, w in zip(places, weights, strict=True))


def rounding(x: Tensor, first: float, last: float) -> float:
    """Estimate the rounding error of a change in the number type of x.

    Args:
        x: a tensor of that type.
        first: the value before the change.
        last: the value after it.
    """
    import torch

    return 10 * torch.finfo(x.dtype).eps * max(abs(first), abs(last))


# Baselines: where the line begins -----------------------------------------------------------------


@dataclass(frozen=True)
class Baseline:
    """A parsed baseline."""

    spec: str
    """The spec as the user wrote it."""
    values: Any = field(default=None, compare=False)
    """The array of its file; None for a named baseline."""

    @property
    def file(self) -> Path | None:
        """The file that the spec names, or None."""
        return None if self.values is None else Path(self.spec)

    def at(self, x: Tensor) -> Tensor:
        """Compute the baseline for one input.

        Args:
            x: the input [C, h, w].

        Returns:
            the baseline, of the shape, type and device of `x`.

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
    """Parse a name of `BASELINES`, or read a `.npy`, `.pt` or `.safetensors` file.

    Args:
        spec: the text of `--baseline`.

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


def _zero(x: Tensor) -> Tensor:
    return x.new_zeros(x.shape)


def _mean(x: Tensor) -> Tensor:
    return x.mean((1, 2), keepdim=True).expand_as(x)


def _blur(x: Tensor) -> Tensor:
    rows, columns = (_blurring(size, min(x.shape[1:]) / 10).to(x) for size in x.shape[1:])
    return rows @ x @ columns.T


def _blurring(size: int, sigma: float) -> Tensor:
    """Compute the weights of each place's neighbours along one axis, up to 3σ.

    Args:
        size: the number of places along the axis.
        sigma: σ in places.

    Returns:
        [size, size], float64. The first and the last place stand for those beyond the edges.
    """
    import torch

    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-(offsets.double() ** 2) / (2 * sigma**2))
    neighbours = (torch.arange(size)[:, None] + offsets).clamp(0, size - 1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, neighbours, (weights / weights.sum()).expand(neighbours.shape))


BASELINES: dict[str, Callable[[Tensor], Tensor]] = {"zero": _zero, "mean": _mean, "blur": _blur}
"""The baselines by name, each a function of an input [C, h, w]: 0 in the model's own numbers; each
channel's mean over the image; the image blurred by a Gaussian of σ = a tenth of its shorter side,
cut off at 3σ."""
