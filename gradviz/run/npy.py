"""Write an array so that a full disk is noticed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import BinaryIO

import numpy as np

from gradviz.arrays import Array


def write_npy(array: Array, file: BinaryIO) -> None:
    """Write `array` in NumPy's format.

    Raises:
        OSError: there is no room for all of it.
    """
    # Into a file itself, NumPy writes by C's streams, and never asks whether the last of their
    # buffers found room. Into anything else it writes by the method `write`.
    np.save(SimpleNamespace(write=file.write), array)
