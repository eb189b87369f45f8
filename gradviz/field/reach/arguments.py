"""The arguments of operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int, ...]
"""The lengths of a tensor's axes."""

META = torch.device("meta")
"""The device on which tensors have shapes and no numbers."""


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors among the arguments of an operator."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))
