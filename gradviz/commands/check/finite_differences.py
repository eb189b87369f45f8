"""Slopes by finite differences, with which a gradient is compared.

Nothing here depends on autograd or models. A function is evaluated at steps from a point, in one
direction, and two numbers are compared: its measured rise, and its expected rise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Ray = Callable[[float], float]
"""A function along one direction: the step t → f(x + t·d). The largest entry of d is 1 in size, so
that steps are in the units of the input."""

TREND_TOLERANCE = 0.1
"""The largest relative distance from its tangent at which a function counts as linear."""

_PER_DECADE = 3


@dataclass(frozen=True)
class Ladder:
    """The steps for one precision, all relative to the span of the input's values.

    A step too long measures curvature and kinks, one too short measures rounding. For numbers of
    relative rounding ε the best step of a central difference is ε^⅓ if the function is smooth
    (Nocedal and Wright, Numerical Optimization, 2006, section 8.1), and shorter the more kinks
    there are: the steps go from ε^¼ down to ε^⅝.
    """

    epsilon: float
    """The relative rounding of the least precise numbers that the function computes with."""

    @property
    def steps(self) -> tuple[float, ...]:
        """The steps, shortest first: in doubles 2e-10 to 1e-4, in floats 5e-5 to 2e-2."""
        return tuple(self.epsilon ** (sixteenths / 16) for sixteenths in range(10, 3, -1))

    @property
    def trend(self) -> tuple[float, ...]:
        """The steps from about the longest of `steps` to the whole span."""
        falling, factor = [1.0], 10 ** (-1 / _PER_DECADE)
        while falling[-1] > self.steps[-1]:
            falling.append(falling[-1] * factor)
        return tuple(reversed(falling))

    @property
    def beside(self) -> float:
        """The distance from a kink at which the steps stay on one side: 1e-2, 1.4e-1."""
        return float(self.epsilon**0.125)

    @property
    def tolerance(self) -> float:
        """The relative error that counts as agreement: in doubles 2.4e-4, in floats 3.7e-2."""
        return float(2 * self.epsilon**0.25)


@dataclass(frozen=True)
class Slope:
    """A function's measured slope in one direction."""

    measured: float
    error: float
    """The distance from the expected slope, relative to the size of the two."""
    step: float
    """The step of the difference, in the units of the input."""
    agrees: bool | None
    """True if it is the expected slope; None if rounding leaves that open."""
    corner: bool = False
    """True if it disagrees at a kink or a leap, where the slopes on both sides differ."""


def noise_of(ray: Ray, step: float, last_digits: float) -> float:
    """Measure the rounding noise in the values of a function near step 0, as a largest deviation.

    Over steps of a few last digits a function is a line, or at a kink two; the deviation of its
    values from that line is rounding. (Moré and Wild, Estimating Computational Noise, 2011, take
    higher differences of more values; the largest second difference is enough here.)

    Args:
        ray: the function.
        step: a few last digits of the input's values.
        last_digits: the rounding of the function's values, and the least noise that is returned;
            steps this short may not change a large value at all.
    """
    values = [ray(k * step) for k in range(-3, 4)]
    bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return max(*bends, last_digits)


def compare_slope(
    ray: Ray, expected: float, size: float, span: float, noise: float, ladder: Ladder
) -> Slope:
    """Compare the slope of a function at step 0 with the expected one.

    Central differences are taken over a ladder of steps. The slopes agree if those of two
    neighbouring steps do, and at the longer one rounding is smaller than the tolerance: a kink
    spoils the longer steps, and a chance agreement rarely happens twice. If rounding is larger at
    every step, a slope is judged wrong only if it is too large for the rounding.

    Args:
        ray: the function.
        expected: the slope to be proven, such as ⟨gradient, direction⟩.
        size: the usual slope in such a direction; errors are relative to it if both slopes are
            smaller.
        span: the largest minus the smallest value of the input, above 0.
        noise: as measured by `noise_of`.
        ladder: the steps.
    """
    trials: list[_Trial] = []
    for step in ladder.steps:
        trials.append(_trial(ray, expected, size, step * span, noise))
        pair = trials[-2:]
        if len(pair) == 2 and pair[1].sharp(ladder) and all(t.agrees(ladder) for t in pair):
            return _slope(min(pair, key=lambda trial: trial.error), agrees=True)
    sharp = [trial for trial in trials if trial.sharp(ladder)]
    wrong = [trial for trial in sharp if not trial.agrees(ladder)]
    if sharp and not wrong:
        return _slope(sharp[0], agrees=True)
    sharpest = min(trials, key=lambda trial: trial.blur)
    if not sharp and sharpest.agrees(ladder):
        return _slope(sharpest, agrees=None)
    start = ray(0)
    corner = any(trial.bend(start) > ladder.tolerance for trial in sharp[:2] or [sharpest])
    return _slope((wrong or [sharpest])[0], agrees=False, corner=corner)


def linear_range(ray: Ray, expected: float, span: float, noise: float, ladder: Ladder) -> Slope:
    """Measure the longest step up to which a function follows its tangent, forwards and backwards.

    The other arguments are those of `compare_slope`. The error of a step is the distance of the
    function from `expected` times the step, relative to that. The function follows its tangent up
    to an error of `TREND_TOLERANCE`.

    Returns:
        the slope measured over that step. The step is 0 if the function does not follow even at the
        shortest (`agrees` is False), or if rounding hides it at all of them (None).
    """
    start = ray(0)
    found = None
    for fraction in ladder.trend:
        step = fraction * span
        sides = [ray(sign * step) for sign in (1, -1)]
        risen = (sides[0] - start, start - sides[1])
        off = max(abs(rise - expected * step) for rise in risen)
        slope = Slope(sum(risen) / (2 * step), _ratio(off, abs(expected) * step), step, True)
        allowed = TREND_TOLERANCE * abs(expected) * step
        if not off <= allowed + noise:
            return found or Slope(slope.measured, slope.error, 0.0, False)
        if noise <= allowed or not expected:
            found = slope
    return found or Slope(slope.measured, slope.error, 0.0, None)


def random_signs(x: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield directions of +1 and −1, without end.

    Args:
        x: the input, whose shape and type the directions have.
        generator: the source of the random numbers.

    Yields:
        directions d: ⟨g, d⟩ is ‖g‖ on average (root mean square).
    """
    while True:
        signs = torch.randint(0, 2, x.shape, generator=generator) * 2 - 1
        yield signs.to(x)


@dataclass(frozen=True)
class _Trial:
    """A central difference."""

    sides: tuple[float, float]
    """The values ahead and behind."""
    step: float
    error: float
    blur: float
    """The error that rounding alone may cause."""
    scale: float
    """The slope that errors are relative to."""

    @property
    def measured(self) -> float:
        return (self.sides[0] - self.sides[1]) / (2 * self.step)

    def agrees(self, ladder: Ladder) -> bool:
        """Return True if the error is within the tolerance."""
        return self.error <= ladder.tolerance + self.blur

    def sharp(self, ladder: Ladder) -> bool:
        """Return True if rounding is below the tolerance."""
        return self.blur <= ladder.tolerance

    def bend(self, start: float) -> float:
        """Compute the difference of the slopes ahead and behind, beyond what rounding may cause."""
        change = abs(self.sides[0] - 2 * start + self.sides[1]) / self.step
        return _ratio(change, self.scale) - 4 * self.blur


def _trial(ray: Ray, expected: float, size: float, step: float, noise: float) -> _Trial:
    sides = ray(step), ray(-step)
    measured = (sides[0] - sides[1]) / (2 * step)
    scale = max(abs(expected), abs(measured), size)
    error = _ratio(abs(measured - expected), scale)
    # If nothing is expected and nothing moves, rounding has no part in it.
    blur = _ratio(noise / step, scale) if scale else 0.0
    return _Trial(sides, step, error, blur, scale)


def _slope(trial: _Trial, agrees: bool | None, corner: bool = False) -> Slope:
    return Slope(trial.measured, trial.error, trial.step, agrees, corner)


def _ratio(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return float("inf") if part else 0.0
