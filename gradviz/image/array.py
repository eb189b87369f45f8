"""Read a file that holds one array: an image tensor, a mask or a cotangent."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradviz.arrays import Array
from gradviz.errors import UsageError
from gradviz.files import ALLOWED, RATIO, members, open_regular, reading

if TYPE_CHECKING:
    import torch


_ZIP = b"PK\x03\x04"
_LEGACY_TORCH = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""A pickle of the number that `torch.save` wrote first before it wrote zip files."""
_NUMPY = b"\x93NUMPY"
SMALL_FILE = 1 << 28
"""The bytes of a file that fits into memory: if it seems not to, its header is wrong."""


_parsing = threading.Lock()


def array_format(path: Path) -> str | None:
    """Recognise the format of a file by its first bytes.

    Returns:
        `numpy`, `torch` or `safetensors`; None for any other file.

    Raises:
        UsageError: the file cannot be opened.
    """
    with reading(path), open_regular(path) as file:  # nobody may ever write to a pipe
        head = file.read(16)
        size = path.stat().st_size
    if head.startswith(_NUMPY):
        return "numpy"
    if head.startswith((_ZIP, _LEGACY_TORCH)):
        return "torch"
    # A safetensors file is the length of its header in eight bytes, then the header, in JSON.
    if head[8:9] == b"{" and 8 + int.from_bytes(head[:8], "little") <= size:
        return "safetensors"
    return None


def is_array(path: Path) -> bool:
    """Return True if a file holds an array, which enters as it is, and False for a picture.

    Raises:
        UsageError: it cannot be read, or is no regular file.
    """
    return array_format(path) is not None


def read_array(path: Path) -> Array:
    """Read the one array in a `.npy`, `.pt`, `.pth` or `.safetensors` file, unchanged.

    The format is recognised by the content. Nothing in the file is executed.

    Args:
        path: the file.

    Returns:
        the array, of any shape; dtype bool, integer or float in the machine's byte order. bfloat16
        and 8-bit floats, which NumPy lacks, become float32.

    Raises:
        UsageError: the file cannot be read, or holds anything but one array.
    """
    name = array_format(path)
    if name is None:
        raise UsageError(
            f"{path}: not an array; expected one tensor in a .npy, .pt or .safetensors file"
        )
    with reading(path):
        array = _READERS[name](path)
    if array.dtype.kind not in "biuf":
        raise UsageError(
            f"{path}: holds {array.dtype} values, expected bool, integers or floats; "
            "convert them and save the array again"
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _numpy(path: Path) -> Array:
    # A header is a Python literal, and Python 3.11 fails to parse two things in two threads at once
    # (gh-106905). So arrays are read one at a time; anything else that the program parses is parsed
    # before.
    with _parsing:
        try:
            array: Array = np.load(path, allow_pickle=False)
        except SystemError:
            array = np.load(path, allow_pickle=False)
        except MemoryError as error:
            if path.stat().st_size > SMALL_FILE:
                raise
            raise ValueError("its header asks for more than the file holds") from error
    return array


def _torch(path: Path) -> Array:
    import torch

    members(path, str(path), UsageError)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        # Torch's own messages are long, and recommend loading the file unsafely.
        raise UsageError(
            f"{path}: expected one tensor, but the file is damaged or holds other objects; "
            "write it with torch.save(tensor, path)"
        ) from error
    if not isinstance(content, torch.Tensor):
        raise UsageError(
            f"{path}: expected one tensor, got a {type(content).__name__}; "
            "write it with torch.save(tensor, path)"
        )
    stored = content.untyped_storage().nbytes()
    if content.numel() * content.element_size() > max(ALLOWED, RATIO * stored):
        raise UsageError(
            f"{path}: a tensor {list(content.shape)} made of {stored} bytes; "
            "write it with torch.save(tensor.contiguous(), path)"
        )
    return _to_numpy(content)


def _safetensors(path: Path) -> Array:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        if len(names) != 1:
            raise UsageError(f"{path}: expected one tensor, got {len(names)}; save it on its own")
        return _to_numpy(file.get_tensor(names[0]))


def _to_numpy(tensor: torch.Tensor) -> Array:
    import torch

    known = (torch.float16, torch.float32, torch.float64)
    if tensor.is_floating_point() and tensor.dtype not in known:
        tensor = tensor.float()
    array: Array = tensor.detach().numpy()
    return array


_READERS: dict[str, Callable[[Path], Array]] = {
    "numpy": _numpy,
    "torch": _torch,
    "safetensors": _safetensors,
}
