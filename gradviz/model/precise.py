"""A model in numbers as precise as its format allows."""

from __future__ import annotations

from dataclasses import replace

import torch

from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model
from gradviz.support import Capability, support


def in_doubles(model: Model) -> Model:
    """The model in float64, or itself where its format cannot be; it is converted in place.

    Raises:
        ModelError: it does not let itself be converted.
    """
    if not support(model.format, Capability.FLOAT64).supported:
        return model
    with foreign_code(f"{model.name}: cannot be made float64: use --precision float32"):
        return replace(model, module=model.module.to(torch.float64), dtype=torch.float64)
