"""The gradient integrated along the straight line from a baseline to the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Score = Callable[["Tensor"], float]
"""⟨v, f(x)⟩ at one input [C, h, w]."""

TOLERANCE = 1e-3
"""How much of the output's change the attribution may be away from completeness."""

PANELS, NODES, NARROWEST = 8, 8, 1 / 1024
"""Where no number of samples is given: the line begins as so many panels of so many nodes, and no
panel gets narrower than this."""


@cache
def nodes(count: int) -> tuple[tuple[float, float], ...]:
    """Places and weights of Gauss–Legendre quadrature on [0, 1]."""
    import numpy as np

    places, weights = np.polynomial.legendre.leggauss(count)
    return tuple((float(1 + p) / 2, float(w) / 2) for p, w in zip(places, weights, strict=True))


class Path:
    """Integrated Gradients (Sundararajan et al. 2017), by Gauss–Legendre quadrature.

    With a number of samples: that many nodes on the whole line. Without: panel by panel from the
    baseline on, a panel halved until what was attributed so far is the output's change so far, to
    `TOLERANCE` of the whole change. The many ReLUs of a network are kinks on the line, which nodes
    spread over all of it resolve slowly, and a smooth network is done with the first panels.
    """

    def __init__(self, x: Tensor, start: Tensor, samples: int | None, score: Score) -> None:
        self._x, self._start = x, start
        self._way = x.double() - start.double()
        self._samples = samples
        self._score = cache(lambda place: score(self._at(place)))
        self._sum = self._panel = self._way * 0
        self._weights: Iterator[float] = iter(())

    def rounds(self) -> Iterator[Iterator[Tensor]]:
        """One round for each panel that is tried."""
        if self._samples is not None:
            yield self._nodes(0, 1, self._samples)
            self._sum = self._panel
            return
        allowed, leaps = self._allowed(), 0.0
        left = [(n / PANELS, (n + 1) / PANELS) for n in reversed(range(PANELS))]
        while left:
            low, high = left.pop()
            yield self._nodes(low, high, NODES)
            together = self._sum + self._panel
            gap = self._score(high) - self._score(0) - float((self._way * together).sum())
            if not abs(gap - leaps) > allowed:  # nor where it is NaN, which no panel mends
                self._sum = together
            elif high - low <= NARROWEST:
                # A leap of the output has no gradient: nothing that comes after makes up for it.
                self._sum, leaps = together, gap
            else:
                middle = (low + high) / 2
                left += [(middle, high), (low, middle)]

    @property
    def before(self) -> float:
        """⟨v, f⟩ at the baseline."""
        return self._score(0)

    def take(self, result: Tensor) -> None:
        """Take the gradient at the next node."""
        self._panel = self._panel + next(self._weights) * result.double()

    def result(self) -> Tensor:
        """The attribution of each input value, float64."""
        return self._way * self._sum

    def _at(self, place: float) -> Tensor:
        return self._start + place * (self._x - self._start)

    def _nodes(self, low: float, high: float, count: int) -> Iterator[Tensor]:
        """The inputs of one panel, whose gradients are expected next."""
        self._panel = self._way * 0
        self._weights = iter([(high - low) * weight for _, weight in nodes(count)])
        return (self._at(low + (high - low) * place) for place, _ in nodes(count))

    def _allowed(self) -> float:
        """The gap that is let pass; a change that drowns in rounding cannot be met closely."""
        first, last = self._score(0), self._score(1)
        return max(TOLERANCE * abs(last - first), rounding(self._x, first, last))


def rounding(x: Tensor, first: float, last: float) -> float:
    """What the numbers of a model with inputs such as x may add to a change from first to last."""
    import torch

    return 10 * torch.finfo(x.dtype).eps * max(abs(first), abs(last))
