"""The effective field: how much each input pixel matters to an output pixel, and its sizes.

Everything here starts from the gradient g [C, H, W] of one output pixel. |g|, summed over the
channels, is its energy. If there are several images or samples, average their energies, and
likewise their contributions, before measuring.

Sources:
    Luo, Li, Urtasun, Zemel: Understanding the Effective Receptive Field in Deep Convolutional
    Neural Networks, 2016 (arXiv 1701.04128).
    Ding, Zhang, Zhou, Han, Ding, Sun: Scaling Up Your Kernels to 31x31: Revisiting Large Kernel
    Design in CNNs, 2022 (arXiv 2203.06717), called RepLKNet, and the scripts published with it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import floor
from typing import Any

import numpy as np

from gradviz.arrays import Doubles, Mask, Numbers

PERCENTS = (20, 30, 50, 99)
"""The shares of the whole for which sizes are given, in percent; RepLKNet's choice."""

CONTOURS = (99, 50, 20)
"""The shares of the energy that contours are drawn around, in percent, the widest first."""

SMOOTHING = 0.01
"""The standard deviation of the Gaussian by which a field is smoothed for its contours, as a share
of the longer side of what is not zero."""

FRACTION_OF_PEAK = 1 - 0.9545
"""The share of the peak that Luo et al. count from. 95.45 % of a normal distribution lies within 2
σ."""


@dataclass(frozen=True)
class Area:
    """A square in the middle of a map."""

    side: int
    """The side in pixels; odd, or 0 for a map without contribution."""
    ratio: float
    """The share of the map's pixels that the square covers, in [0, 1]; RepLKNet's r."""


@dataclass(frozen=True)
class Statistics:
    """The size of an effective field.

    Pixels that are NaN or Inf are left out. Without any energy, sides and areas are 0, `mean` and
    `sigma` None.
    """

    squares: dict[str, int]
    """The side in pixels of the smallest square around the centre pixel that holds a percentage
    ("20", "30", "50", "99") of the energy. Sides are odd; pixels beyond the map are empty."""
    mean: tuple[float, float] | None
    """The mean (x, y) of the energy taken as a distribution. Pixel `i` covers `[i, i + 1)`, so all
    its energy is at `i + 0.5`."""
    sigma: tuple[float, float] | None
    """The standard deviations (σx, σy) about `mean`, in pixels. Luo et al. show that the field of a
    deep network tends to a Gaussian and take its σ for the field's size."""
    area_4_55: int
    """The number of pixels whose energy exceeds 4.55 % of the peak. Luo et al. compare with the
    centre pixel, which is the peak of a bell around it; the root of this number is their ERF
    size."""
    replknet: dict[str, Area | None]
    """RepLKNet's high-contribution area, by percentage: see `high_contribution`."""
    nonfinite: int
    """The number of pixels whose energy is NaN or Inf."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, in lists, dicts and numbers that strict JSON can hold."""
        pairs = {"mean": self.mean, "sigma": self.sigma}
        return asdict(self) | {name: pair and list(pair) for name, pair in pairs.items()}


def energy_of(gradient: Numbers) -> Doubles:
    """Compute Σ|g| over the channels. NaN and Inf stay.

    Args:
        gradient: [C, H, W].

    Returns:
        float64 [H, W].
    """
    energy: Doubles = np.abs(gradient, dtype=np.float64).sum(axis=0)
    return energy


def support_of(gradient: Numbers) -> Mask:
    """Find the pixels where any channel is not zero; NaN and Inf are not zero.

    Args:
        gradient: [C, H, W].

    Returns:
        bool [H, W].
    """
    support: Mask = (gradient != 0).any(axis=0)
    return support


def contribution_of(gradient: Numbers) -> Doubles:
    """Compute RepLKNet's contribution scores, Σ max(g, 0) over the channels.

    Its authors differentiate Σ max(y, 0) over the channels of the output pixel in the middle. A
    seed of that pixel on all channels is the same if no channel is negative, as after a ReLU. They
    average the scores over 50 images of 1024×1024 and skip those with a NaN.

    Args:
        gradient: [C, H, W].

    Returns:
        float64 [H, W].
    """
    contribution: Doubles = np.maximum(gradient, 0, dtype=np.float64).sum(axis=0)
    return contribution


def energy_regions(energy: Numbers) -> list[Mask]:
    """Find the smallest regions that hold `CONTOURS` of the energy, the widest first.

    Args:
        energy: [H, W] of `energy_of`; NaN and Inf count as zero.

    Returns:
        bool [H, W] for each share; empty if there is no energy.
    """
    smooth = smooth_energy(energy)
    return [smooth >= level for level in contour_levels(smooth)]


def smooth_energy(energy: Numbers) -> Doubles:
    """Smooth the energy for contours, by a Gaussian of at least one pixel.

    Single pixels of a gradient differ more than what lies around them.

    Args:
        energy: [H, W] of `energy_of`; NaN and Inf count as zero.

    Returns:
        float64 [H, W].
    """
    finite = np.where(np.isfinite(energy), energy, 0).astype(np.float64)
    if not finite.any():
        return finite
    y, x = np.nonzero(finite)
    sigma = max(1.0, SMOOTHING * max(np.ptp(y), np.ptp(x)))
    reach = np.arange(-round(3 * sigma), round(3 * sigma) + 1)
    kernel = np.exp(-(reach**2) / (2 * sigma**2))
    for axis in (0, 1):
        finite = np.apply_along_axis(_spread, axis, finite, kernel / kernel.sum())
    return finite


def contour_levels(smooth: Doubles) -> list[float]:
    """Find the least energies of the smallest regions that hold `CONTOURS` of it.

    Args:
        smooth: [H, W] of `smooth_energy`.

    Returns:
        one for each share, the widest region first; empty if there is no energy.
    """
    if not smooth.any():
        return []
    falling = np.sort(smooth, axis=None)[::-1]
    held = falling.cumsum()
    places = (np.searchsorted(held, share / 100 * held[-1]) for share in CONTOURS)
    return [float(falling[place]) for place in places]


def _spread(line: Doubles, kernel: Doubles) -> Doubles:
    """Convolve a line with a kernel; the result is as long as the line."""
    start = len(kernel) // 2
    return np.convolve(line, kernel)[start : start + len(line)]


def statistics_of(
    energy: Numbers, contribution: Numbers, centre: tuple[float, float]
) -> Statistics:
    """Measure an effective field.

    Args:
        energy: [H, W] of `energy_of`, or the average of several.
        contribution: [H, W] of `contribution_of`, or the average of several.
        centre: (x, y) of the output pixel's centre in the input, where pixel `i` covers `[i, i +
            1)`. The pixel that holds it is the centre pixel; it may lie outside the map.
    """
    finite = np.where(np.isfinite(energy), energy, 0).astype(np.float64)
    column, row = (floor(point) for point in centre)
    held = _held(finite, column, row)
    mean, sigma = _moments(finite) if held[-1] > 0 else (None, None)
    return Statistics(
        squares={str(share): _smallest(held, share) for share in PERCENTS},
        mean=mean,
        sigma=sigma,
        area_4_55=int(np.count_nonzero(finite > FRACTION_OF_PEAK * finite.max())),
        replknet=high_contribution(contribution),
        nonfinite=int(np.count_nonzero(~np.isfinite(energy))),
    )


def high_contribution(contribution: Numbers) -> dict[str, Area | None]:
    """Compute RepLKNet's high-contribution area as its authors do for their published tables.

    A = log₁₀(1 + contribution). Of the squares in the middle of the map that hold more than t of
    ΣA, r is the share of the map that the smallest one covers. Three facts matter for comparisons:
    the square lies in the middle of the map, wherever the output pixel is; the logarithm makes r
    depend on the gradient's scale, hence on the input's normalisation; and the sides tried are 3,
    5, … up to two less than an odd map's, one less than an even one's.

    Args:
        contribution: scores [H, W] of `contribution_of`, or the average of several.

    Returns:
        for t = 20, 30, 50 and 99 %, the square, or None if the largest one holds too little. If the
        map is not square, which its authors do not consider, the longer side limits the square and
        r counts the pixels inside the map.
    """
    height, width = contribution.shape
    scores = np.log10(1 + np.where(np.isfinite(contribution), contribution, 0), dtype=np.float64)
    held = _held(scores, width // 2, height // 2)
    areas: dict[str, Area | None] = {}
    for share in PERCENTS:
        # 100·held and share·total, rather than their quotient, are exact if the scores are.
        radius = max(int(np.searchsorted(100 * held, share * held[-1], side="right")), 1)
        side = 2 * radius + 1
        if held[-1] == 0:
            areas[str(share)] = Area(0, 0.0)
        elif radius < max(height, width) // 2:
            covered = min(side, height) * min(side, width)
            areas[str(share)] = Area(side, covered / (height * width))
        else:
            areas[str(share)] = None
    return areas


def _held(values: Doubles, column: int, row: int) -> Doubles:
    """Sum the values in squares of side 1, 3, 5, … around a pixel; the last square holds all."""
    height, width = values.shape
    across, down = np.abs(np.arange(width) - column), np.abs(np.arange(height) - row)
    ring = np.maximum(down[:, None], across)
    held: Doubles = np.cumsum(np.bincount(ring.ravel(), weights=values.ravel()))
    return held


def _smallest(held: Doubles, share: int) -> int:
    radius = int(np.searchsorted(100 * held, share * held[-1]))
    return 2 * radius + 1 if held[-1] > 0 else 0


def _moments(energy: Doubles) -> tuple[tuple[float, float], tuple[float, float]]:
    (mean_x, sigma_x), (mean_y, sigma_y) = (_axis_moments(energy.sum(axis=n)) for n in (0, 1))
    return (mean_x, mean_y), (sigma_x, sigma_y)


def _axis_moments(weights: Doubles) -> tuple[float, float]:
    weights = weights / weights.sum()
    positions = np.arange(len(weights)) + 0.5
    mean = float(weights @ positions)
    return mean, float(np.sqrt(weights @ (positions - mean) ** 2))
