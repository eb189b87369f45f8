"""The arrays, boxes and sizes that every part of gradviz passes on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Numbers = NDArray[np.floating]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

Size = tuple[int, int]
"""Width and height in pixels."""

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; half-open: the right and the bottom edge are exclusive."""


def box_around(mask: Array) -> Box | None:
    """Find the smallest box around what a map [h, w] marks; None if it marks nothing."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
