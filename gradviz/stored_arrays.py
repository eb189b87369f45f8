"""The files of arrays: NumPy's own, and numbers of 16 bits with their scale, compressed."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from gradviz.arrays import Array, Floats
from gradviz.errors import UsageError
from gradviz.files import ALLOWED, disk, members, open_regular, write_npy
from gradviz.text import one_line

POWER = 15
"""The power of two below which scaled numbers stay: float16 ends at 65504, just below 2¹⁶."""

POINTER = b"version https://git-lfs"
"""The beginning of the file that Git LFS leaves in place of one that was not fetched."""


def write_halves(array: Array, file: BinaryIO) -> None:
    """Write float numbers as 16 bits each, and their scale in float64, in a compressed archive.

    The scale is a power of two, so only the rounding to 11 significant bits is lost: the error is
    at most 2⁻¹¹ ≈ 0.0005 of each number, except for those below 2⁻²⁸ of the largest, whose error
    is at most 2⁻³⁹ of the largest. Zeros, signs, NaN and Inf stay.

    Args:
        array: numbers of any shape.
        file: the open file.

    Raises:
        OSError: the disk is full.
    """
    numbers = array.astype(np.float64)
    largest = float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0))
    power = math.frexp(largest)[1] - POWER if largest else 0
    scaled = np.ldexp(numbers, -power).astype(np.float16)
    write = np.savez_compressed if scaled.nbytes < ALLOWED else np.savez
    write(file, values=scaled, scale=np.float64(math.ldexp(1, power)))


WRITERS: dict[str, tuple[str, Callable[[Array, BinaryIO], None]]] = {
    "npy": (".npy", write_npy),
    "all": (".npy", write_npy),
    "float16": (".npz", write_halves),
}
"""The suffix and the writer of each form of `--array`."""

ARRAY_ENDINGS = tuple({suffix for suffix, _ in WRITERS.values()})


def load_array(path: str | Path) -> Array:
    """Load an array that a run wrote, whether with `--array npy` or with `--array float16`.

    Args:
        path: the file, such as `gradient.npy` or `gradient.npz`.

    Returns:
        the array; float32 for a file of 16-bit numbers.

    Raises:
        UsageError: the file holds none, or the disk refuses.

    Example:
        >>> import gradviz
        >>> import numpy as np
        >>> np.save("gradient.npy", np.float32([[1, 2], [3, 4]]))
        >>> gradviz.load_array("gradient.npy").shape
        (2, 2)
    """
    return read_stored(Path(path), Path(path))


def read_stored(path: Path, named: Path, mapped: bool = False) -> Array:
    """Read an array of numbers or truth values.

    Args:
        path: the file.
        named: its name in messages.
        mapped: True to leave it in the file if it is not compressed, and to read only the parts
            that are used.

    Raises:
        UsageError: the file holds none, or the disk refuses.
    """
    try:
        with disk(named), open_regular(path) as file:
            head = file.read(len(POINTER))
            file.seek(0)
            if head == POINTER:
                raise UsageError(
                    f"{named}: is a Git LFS pointer, not the array itself; run git lfs pull"
                )
            if path.suffix == ".npz":
                content = _read_halves(path, file)
            else:
                content = npy.open_memmap(path, "r") if mapped else npy.read_array(file)
    except UsageError:
        raise
    except Exception as error:  # NumPy reads a header by Python's own parser
        raise UsageError(f"{named}: damaged ({one_line(error)}); run it again") from error
    if content.dtype.kind not in "biuf":
        raise UsageError(f"{named}: not an array of numbers; run it again")
    return content


def _read_halves(path: Path, file: IO[bytes]) -> Floats:
    members(path, str(path), UsageError)  # refuses one that would unpack to far too much
    with np.load(file, allow_pickle=False) as archive:
        values, scale = archive["values"], archive["scale"]
    if values.dtype != np.float16 or scale.shape != ():
        raise ValueError("expected values of float16, and one scale")
    numbers = values.astype(np.float64) * float(scale)
    # The largest numbers of float32 may have been rounded up.
    most = np.finfo(np.float32).max
    bounded: Floats = np.where(np.isfinite(numbers), numbers.clip(-most, most), numbers).astype(
        "f4"
    )
    return bounded


def is_whole_archive(file: IO[Any]) -> bool:
    """Return True if nothing of an archive of 16-bit numbers is missing."""
    with zipfile.ZipFile(file) as archive:
        return archive.testzip() is None
