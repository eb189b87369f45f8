"""The clip of a map: which of its values gets the strongest colour.

A number is a percentile of the values. `energy:P` weighs each value by its energy, which is its
square: the values above the clip hold at most 100 − P percent of the energy. A map with a few large
values, such as that of one output pixel, is then drawn up to them.
"""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

from gradviz.errors import UsageError

if TYPE_CHECKING:
    from gradviz.arrays import Doubles

Clip = float | str
"""A percentile in (0, 100], or the text `energy:P` with P in (0, 100]."""

CLIP: Clip = 99.0
"""The percentile of a map's non-zero values that gets the strongest colour."""

ENERGY = "energy:"


def parse_clip(text: Clip) -> Clip:
    """Parse a clip.

    Args:
        text: the number, or `energy:P`.

    Raises:
        UsageError: it is neither, or not within its range.
    """
    of_energy = isinstance(text, str) and text.startswith(ENERGY)
    try:
        percent = float(str(text).removeprefix(ENERGY))
    except ValueError:
        percent = float("nan")
    if isnan(percent):
        raise UsageError(f"--clip {text}: write it as a number, or as energy:P")
    if not 0 < percent <= 100:
        what = "a share of the energy" if of_energy else "a percentile"
        raise UsageError(f"--clip {text}: {what} is above 0 and at most 100")
    return f"{ENERGY}{percent:.15g}" if of_energy else percent


def recorded_clip(value: object) -> Clip:
    """Return the clip that a run.json names; the default for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return CLIP
    try:
        return parse_clip(value)
    except UsageError:
        return CLIP


def clipped_at(sizes: Doubles, clip: Clip) -> float:
    """Find the clip of values.

    Args:
        sizes: at least one value above 0; they are sorted in place.
        clip: the percentile, between values if need be; or `energy:P`, which is the smallest of the
            values such that those above it hold at most 100 − P percent of all energy.
    """
    import numpy as np

    if not isinstance(clip, str):
        return float(np.percentile(sizes, clip, overwrite_input=True))
    sizes.sort()
    held = np.cumsum((sizes / sizes[-1]) ** 2)  # of huge values, the squares would be Inf
    share = float(clip.removeprefix(ENERGY)) / 100
    return float(sizes[np.searchsorted(held, share * held[-1])])
