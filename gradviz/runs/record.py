"""The content of run.json: all that is needed to run it again, and to know it from another."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gradviz.files import reading
from gradviz.image.find import Source
from gradviz.image.preprocess import Preprocess
from gradviz.model.model import Model
from gradviz.version import VERSION

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def describe(
    kind: str,
    model: Model,
    sources: Sequence[Source],
    preprocess: Preprocess,
    settings: DataclassInstance,
    writes: Sequence[str],
    command: Sequence[str],
    files: Sequence[Path] = (),
) -> dict[str, Any]:
    """What was run.

    Args:
        kind: the command's name.
        writes: the names of the files that each result may have.
        command: how the program was called.
        files: what the command read besides the model and the images.

    Raises:
        UsageError: one of the files cannot be read any more.
    """
    arch = (model.arch or "").rpartition(":")[0]
    code = [Path(arch)] if arch.endswith(".py") else []
    return {
        "schema": 1,
        "kind": kind,
        "command": list(command),
        "folder": str(Path.cwd()),
        "versions": {
            "gradviz": VERSION,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        },
        "model": model.describe(),
        "preprocess": preprocess.as_dict(),
        "settings": asdict(settings),
        "files": {str(path): _digest(path) for path in (*code, *files)},
        "images": [_identity(source) for source in sources],
        "writes": list(writes),
    }


def _identity(source: Source) -> dict[str, Any]:
    """Enough to notice another image of the same name, without reading it."""
    path = source.path.absolute()
    try:
        status = path.stat()
    except OSError:  # the run will say what is wrong with it
        return {"name": source.name, "path": str(path)}
    return {
        "name": source.name,
        "path": str(path),
        "bytes": status.st_size,
        "modified": status.st_mtime_ns,
    }


def _digest(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
