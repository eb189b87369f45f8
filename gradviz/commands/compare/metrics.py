"""The table of metrics: distances between two arrays of the same shape.

The help lists them, so numpy is imported by the functions that need it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradviz.arrays import Array, Doubles, Mask

STRONGEST = 0.05
"""The share of a map's pixels that `iou` calls the strongest."""

FLIPPED_SHARE = 0.05
"""The share of a map's pixels that may lie behind units which rounding flips. `relative-l2` allows
it to the pixels that differ most, and counts those where either array is not zero."""

FLIPPED_WEIGHT = 1e-3
"""The weight of the energy of these pixels; that of all others is 1. It is not 0, so that a large
change of a few pixels is not hidden."""


@dataclass(frozen=True)
class Metric:
    """One row of the table of metrics."""

    name: str
    meaning: str
    function: Callable[[Array, Array], float]
    """The function of two arrays of one shape, [C, H, W] or any other, all their values finite."""
    larger_is_nearer: bool
    """True if equal arrays have the largest value, 1; False if they have the smallest, 0."""
    tolerance: float
    """The default of `--tolerance`: the value farthest from that of equal arrays that passes."""
    of_numbers: bool
    """True if it is meaningful for single numbers, for runs that keep no arrays."""

    def holds(self, value: float, tolerance: float) -> bool:
        """Return True if the value is within the tolerance; NaN is not."""
        return value >= tolerance if self.larger_is_nearer else value <= tolerance

    def distance(self, value: float) -> float:
        """Compute the distance of the value from that of equal arrays."""
        return 1 - value if self.larger_is_nearer else value

    def worst(self, values: Iterable[float]) -> float:
        """Return the value that is farthest from that of equal arrays."""
        return max(values, key=self.distance)


def largest(a: Array) -> float:
    """Compute max|a|; 0 for an array without values."""
    return float(abs(a).max(initial=0))


def finite_parts(a: Array, b: Array) -> tuple[Array, Array, int]:
    """Replace the values at which either array is NaN or Inf by zeros.

    Returns:
        both arrays, and the number of places at which only one of them is NaN or Inf, or each is
        another one of these.
    """
    import numpy as np

    finite = np.isfinite(a) & np.isfinite(b)
    if finite.all():
        return a, b, 0
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    broken = int(np.count_nonzero(~finite & ~same))
    return np.where(finite, a, 0), np.where(finite, b, 0), broken


def strongest(a: Array) -> Mask:
    """Find the 5 % of a map's pixels that are strongest, ties included, zeros left out.

    Args:
        a: [C, H, W], where a pixel's strength is Σ|a| over the channels; or an array of another
            number of axes, where it is |a|; or a mask, whose true pixels are the result.

    Returns:
        bool, [H, W] or of the shape of `a`.
    """
    import numpy as np

    if a.dtype == bool:
        return a
    strength = abs(_doubles(a))
    if a.ndim == 3:
        strength = strength.sum(axis=0)
    if not strength.size:
        return strength > 0
    count = max(1, round(STRONGEST * strength.size))
    threshold = np.partition(strength, -count, axis=None)[-count]
    return np.asarray((strength >= threshold) & (strength > 0))


def _max(a: Array, b: Array) -> float:
    return largest(_doubles(a) - _doubles(b))


def _relative(a: Array, b: Array) -> float:
    a, b = _doubles(a), _doubles(b)
    size = max(largest(a), largest(b))
    return largest(a - b) / size if size else 0.0


def _relative_l2(a: Array, b: Array) -> float:
    """Compute ‖A − B‖ / max(‖A‖, ‖B‖), with a smaller weight of the pixels that differ most."""
    import numpy as np

    a, b = _doubles(a), _doubles(b)
    size = max(largest(a), largest(b))
    if not size:
        return 0.0
    a, b = a / size, b / size  # squares of very large and very small values are no float64
    energies = _energy(a), _energy(b), _energy(a - b)
    allowed = int(FLIPPED_SHARE * np.count_nonzero(energies[0] + energies[1]))
    if allowed:
        behind_flips = np.argpartition(energies[2], -allowed)[-allowed:]
        for energy in energies:
            energy[behind_flips] *= FLIPPED_WEIGHT
    of_a, of_b, of_both = (float(energy.sum()) for energy in energies)
    return math.sqrt(of_both / max(of_a, of_b))


def _energy(a: Doubles) -> Doubles:
    """Compute Σa² over the channels of each pixel of [C, H, W], and a² of each value otherwise."""
    energy: Doubles = a * a
    return (energy.sum(axis=0) if a.ndim == 3 else energy).ravel()


def _cosine(a: Array, b: Array) -> float:
    import numpy as np

    a, b = _doubles(a), _doubles(b)
    if not (a.any() and b.any()):
        return float(not (a.any() or b.any()))
    # Not Python's min, which would turn NaN into 1.
    return float(np.minimum(1, (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())))


def _iou(a: Array, b: Array) -> float:
    a, b = strongest(a), strongest(b)
    both, either = (int(each.sum()) for each in (a & b, a | b))
    return both / either if either else 1.0


def _doubles(a: Array) -> Doubles:
    return a.astype("float64")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("relative", "max|A − B| / max(|A|, |B|)", _relative, False, 1e-3, True),
        # docs/guide/compare.md has the rounding that it passes, and the changes that it does not.
        Metric(
            "relative-l2",
            "‖A − B‖ / max(‖A‖, ‖B‖), where the 5 % of pixels that differ most count a thousandth",
            _relative_l2,
            False,
            0.03,
            True,
        ),
        Metric("max", "max|A − B|, in the units of the array", _max, False, 0.0, True),
        Metric("cosine", "the cosine of the angle between A and B", _cosine, True, 0.999, False),
        Metric(
            "iou",
            "intersection over union of the strongest 5 % of the pixels, or of two masks",
            _iou,
            True,
            0.99,
            False,
        ),
    )
}
"""Every metric, by name, in the order of the documentation."""
