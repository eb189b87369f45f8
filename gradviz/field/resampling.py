"""Interpolation along one axis: which elements each result looks at, in exact fractions.

A neighbour whose coefficient is zero, since a result lies on an element, does not count.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np


def sources(size: int, count: int, scale: float | None, corners: bool) -> tuple[Any, Any]:
    """Return the place of each result of an interpolation: element before, and distance, exact.

    Args:
        size: the elements that there are.
        count: the elements that are made.
        scale: the factor, where one was given.
        corners: whether the corners of both lie on each other.
    """
    places = np.arange(count, dtype=np.int64)
    if corners:
        top, bottom = places * (size - 1), max(count - 1, 1)
    else:
        step = Fraction(size, count)
        if scale is not None and scale > 0:
            factor = Fraction(scale).limit_denominator(1000)
            if abs(float(factor) - scale) > 1e-9 * scale:
                return _rounded((places + 0.5) / scale - 0.5)
            step = 1 / factor
        top = (2 * places + 1) * step.numerator - step.denominator
        bottom = 2 * step.denominator
    whole = top // bottom
    return whole, (top - whole * bottom) / bottom


def _rounded(where: Any) -> tuple[Any, Any]:
    """The same for a factor that is no short fraction."""
    whole = np.floor(where)
    return whole.astype(np.int64), where - whole


def linear_taps(whole: Any, rest: Any, size: int) -> tuple[Any, Any]:
    """Two neighbours; only one where the other's coefficient is zero."""
    before, rest = np.where(whole < 0, 0, whole), np.where(whole < 0, 0.0, rest)
    before = np.minimum(before, size - 1)
    index = np.stack([before, np.minimum(before + 1, size - 1)], 1)
    return index, np.stack([1 - rest, rest], 1)


def cubic_taps(whole: Any, rest: Any, size: int) -> tuple[Any, Any]:
    """Four neighbours, or the one that is hit."""
    index = np.clip(whole[:, None] + np.arange(-1, 3), 0, size - 1)
    some = np.repeat(rest[:, None], 4, 1)
    some[:, 1] = 1 - rest
    return index, np.where((rest == 0)[:, None], [0.0, 1.0, 0.0, 0.0], some)
