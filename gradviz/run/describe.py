"""The content of run.json: everything needed to run it again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from gradviz.image.find import Source
from gradviz.image.preprocess import Preprocess, as_dict
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
    command: Sequence[str],
) -> dict[str, Any]:
    """What was run: `kind` is the command's name, `command` how it was called."""
    return {
        "schema": 1,
        "kind": kind,
        "command": list(command),
        "versions": {
            "gradviz": VERSION,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        },
        "model": model.describe(),
        "preprocess": as_dict(preprocess),
        "settings": asdict(settings),
        "images": [source.name for source in sources],
    }
