"""Large arrays by strips of rows, so that what is computed from them on the way stays small."""

from __future__ import annotations

from collections.abc import Iterator

STRIP = 1 << 20
"""Pixels of a strip, about."""


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of an image, as slices, from the top down."""
    rows = max(1, STRIP // max(1, width))
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))
