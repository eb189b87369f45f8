"""The formats of a model, as the support matrix tells them apart."""

from __future__ import annotations

from enum import Enum


class Format(Enum):
    """How a model keeps its weights and its code."""

    STATE_DICT = "weights with an architecture"
    """A checkpoint or safetensors file and `--arch`; also an nn.Module that Python hands in."""
    PICKLED = "pickled module"
    """A whole nn.Module, written by torch.save."""
    SCRIPT = "TorchScript"
    """Scripted or traced, its weights still parameters."""
    FROZEN = "frozen TorchScript"
    """Scripted or traced, then frozen: no parameters, the weights are constants of the code."""
    EXPORTED = "exported program"
    """A `.pt2` file of torch.export."""
