"""Results that outlast a power cut: files that are whole, and lines that are written after them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import IO

from numpy.lib import format as npy

from gradviz.files import open_regular
from gradviz.stored_arrays import is_whole_archive

PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

OFTEN = 1.0
"""Seconds between two moments at which all files are made safe."""
SHARE = 0.1
"""The largest share of a run's time that this may take."""


def is_whole(path: Path) -> bool:
    """Return True if an array or a picture is as long as its beginning says.

    A power cut may leave a file empty or full of zeros, though its name was there before.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if path.suffix == ".npz":
                return is_whole_archive(file)
            return _is_array(file, size) if path.suffix == ".npy" else _is_picture(file, size)
    except Exception:  # NumPy reads a header by Python's own parser
        return False


def _is_array(file: IO[bytes], size: int) -> bool:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return size == file.tell() + math.prod(shape) * dtype.itemsize


def _is_picture(file: IO[bytes], size: int) -> bool:
    begin = file.read(len(PNG_BEGIN))
    if size < len(PNG_BEGIN) + len(PNG_END):
        return False
    file.seek(-len(PNG_END), os.SEEK_END)
    return begin == PNG_BEGIN and file.read() == PNG_END


class SafeLines:
    """Lines that wait until the files that they name are safe on the disk.

    Making one file safe takes as long as making all of them safe, so it is done for those of about
    a second at once. The first line does not wait.
    """

    def __init__(self, sync: Callable[[], object], append: Callable[[bytes], object]) -> None:
        """Take the two steps.

        Args:
            sync: makes all files that were written so far safe.
            append: adds lines to the file of results.
        """
        self._sync = sync
        self._append = append
        self._waiting: list[bytes] = []
        self._due = 0.0

    def add(self, line: bytes) -> None:
        """Add a line to those that wait, and write them if it is time."""
        self._waiting.append(line)
        if perf_counter() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write the lines that wait."""
        if self._waiting:
            started = perf_counter()
            self._sync()
            self._append(b"".join(self._waiting))
            self._waiting.clear()
            ended = perf_counter()
            self._due = ended + max(OFTEN, (ended - started) / SHARE)
