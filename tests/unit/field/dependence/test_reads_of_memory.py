"""What a model reads from the image past autograd makes its field partial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import dlpack

import gradviz

DLPACK: Any = dlpack

READS: dict[str, Callable[[Tensor], Tensor]] = {
    "a capsule": lambda x: DLPACK.from_dlpack(DLPACK.to_dlpack(x)),
    "dlpack": lambda x: DLPACK.from_dlpack(x),
    "dlpack by NumPy": lambda x: torch.from_numpy(np.from_dlpack(x) * 1),
    "numpy": lambda x: torch.from_numpy(x.numpy() * 1),
}


class Gated(nn.Module):
    def __init__(self, read: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.conv, self.read = nn.Conv2d(3, 1, 1), read

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if self.read is None else y * self.read(y.detach()).mean()


@pytest.mark.parametrize("name", READS)
def test_what_is_read_from_memory_is_a_selection(name: str) -> None:
    found = gradviz.receptive_field(Gated(READS[name]), torch.rand(3, 6, 6)).fields[0].structural
    assert found.status == "partial" and found.lost_at


def test_memory_that_is_used_again_is_no_selection() -> None:
    class Reuses(nn.Module):
        """What comes after the first map is as large, and may lie where that was."""

        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            for _ in range(50):
                hidden = (y * 3).detach()
                del hidden
                y = y + torch.full_like(y, 0.5)
            return y

    found = gradviz.receptive_field(Reuses(), torch.rand(3, 64, 64)).fields[0].structural
    assert found.status == "exact"
