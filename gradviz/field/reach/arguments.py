"""The arguments of operators."""

from __future__ import annotations

import torch

Shape = tuple[int, ...]
"""The lengths of a tensor's axes."""

META = torch.device("meta")
"""The device on which tensors have shapes and no numbers."""
