"""Recognition of a model by its content alone; nothing in it is run."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

from gradviz.errors import ModelError, UsageError
from gradviz.files import members, open_regular


class Content(Enum):
    """The kinds of model that gradviz can read."""

    TORCHSCRIPT = "a TorchScript file"
    SAVED = "a torch.save file"
    EXPORTED = "a torch.export file"
    SAFETENSORS = "a safetensors file"
    FOLDER = "a folder that a library wrote"
    CARD = "a model card"


_TORCH_SAVE_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number with which torch.save began its files before they became zip files."""

_HEAD = 512
"""The number of bytes that the table below may look at."""

_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (rb"\Z", "the file is empty: download or save it again"),
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself: run git lfs pull"),
    (rb"(?i)\s*(<!doctype html|<html)", "an HTML page, perhaps of a failed download: get the file"),
    (rb"\x80[\x02-\x05]", "a pickle that torch.save did not write: save it with torch.save"),
    (rb"PK\x03\x04", "a zip file that is damaged or cut short: download or copy it again"),
    (rb"PK\x05\x06", "an empty zip file: save the model again"),
    (rb"\x89HDF\r\n", "an HDF5 file (Keras): gradviz reads PyTorch models"),
    (rb"(?s).{4}TFL3", "a TFLite file: gradviz reads PyTorch models"),
    (rb"\x08\x01\x12", "a TensorFlow SavedModel: gradviz reads PyTorch models"),
    (rb"\x08[\x02-\x20][\x12\x1a\x3a]", "an ONNX file: give the PyTorch model it was made from"),
    (rb"GGUF", "a GGUF file: gradviz reads PyTorch models"),
    (rb"\x93NUMPY", "a NumPy array: gradviz reads PyTorch models"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP", "an image: MODEL comes first, then IMAGE"),
    (rb"\x1f\x8b", "a gzip file: unpack it first"),
    (rb"BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!", "a compressed archive: unpack it first"),
    (rb"(?s).{257}ustar", "a tar archive: unpack it first"),
)
"""The beginnings of other files, and their messages; the first that matches counts."""

_TEXT = re.compile(rb"[^\x00-\x08\x0e-\x1f]+\Z")


def recognise(path: Path) -> Content:
    """Recognise the kind of a model file or folder.

    Raises:
        UsageError: the file does not exist, cannot be opened, or is a folder of no library.
        ModelError: gradviz cannot read it, or it is a zip file that would unpack to far more than
            its size; the message names the likely format.
    """
    try:
        if path.is_dir():
            if (path / "config.json").exists():
                return Content.FOLDER
            raise UsageError(
                f"{path}: is a folder without config.json: give a model file, or a folder as "
                "save_pretrained writes it"
            )
        with open_regular(path) as file:
            head = file.read(_HEAD)
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such model file: check the path") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be opened: {error.strerror or error}") from error

    names = _names_in_zip(path)
    if names:
        return _in_zip(path, names)
    if _TORCH_SAVE_MAGIC in head[:32]:
        return Content.SAVED
    if head[8:9] == b"{" and b"\0" in head[:8]:
        return _safetensors(path, int.from_bytes(head[:8], "little"), size)
    for pattern, sentence in _FOREIGN:
        if re.match(pattern, head):
            raise ModelError(f"{path}: cannot be loaded: {sentence}")
    if path.suffix.lower() in (".yaml", ".yml"):
        return Content.CARD
    if _TEXT.match(head):
        raise ModelError(
            f"{path}: cannot be loaded: plain text: give a model file, or a card that ends in .yaml"
        )
    raise ModelError(
        f"{path}: is not a model file that gradviz can read: expected one of torch.save, "
        f"torch.jit.save, torch.export.save or safetensors, got a file that begins with "
        f"{head[:8].hex(' ')}"
    )


def _names_in_zip(path: Path) -> list[str]:
    """List the members of a zip file; none if it is damaged."""
    found = members(path, str(path), ModelError)
    # A truncated file may still end with a whole archive that was stored inside it.
    starts = (member.header_offset for member in found)
    return [member.filename for member in found] if min(starts, default=1) == 0 else []


def _in_zip(path: Path, names: list[str]) -> Content:
    # PyTorch's archives keep everything in one folder, except the .pt2 files of old versions.
    inner = {name.partition("/")[2] for name in names}
    if {"archive_format", "models/model.json"} & inner:
        return Content.EXPORTED
    if "serialized_exported_program.json" in names:
        return Content.EXPORTED
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return Content.TORCHSCRIPT
    if "data.pkl" in inner:
        return Content.SAVED
    raise ModelError(
        f"{path}: is a zip file but no PyTorch model, it holds {', '.join(names[:3])}: "
        "unpack it first if a model is inside"
    )


def _safetensors(path: Path, header: int, size: int) -> Content:
    if 8 + header > size:
        raise ModelError(
            f"{path}: is a safetensors file that is cut short: its header takes {header} bytes, "
            f"the file has {size}: download or copy it again"
        )
    return Content.SAFETENSORS
