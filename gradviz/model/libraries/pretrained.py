"""The arguments by which factories download weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import Enum

PRETRAINED: Mapping[str, object] = {
    "weights": None,
    "weights_backbone": None,
    "pretrained": False,
    "encoder_weights": None,
}
"""The arguments by which factories download weights, and the values that prevent it."""


def without_download(factory: Callable[..., object]) -> dict[str, object]:
    """List the arguments that keep a factory from downloading weights.

    Only arguments that are required, or whose default asks for a download, are listed.
    """
    parameters = inspect.signature(factory).parameters
    return {
        name: value
        for name, value in PRETRAINED.items()
        if name in parameters and _downloads(parameters[name].default)
    }


def _downloads(default: object) -> bool:
    asked = default is True or isinstance(default, str | Enum)
    return asked or default is inspect.Parameter.empty
