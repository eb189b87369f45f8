"""The small network whose files are broken, and the files that it is saved in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ARCH = ("--arch", f"{__file__}:Victim")

KINDS: dict[str, tuple[str, ...]] = {
    "checkpoint.pt": ARCH,
    "legacy.pth": ARCH,
    "weights.safetensors": ARCH,
    "scripted.ts": (),
    "frozen.ts": (),
    "program.pt2": ("--trust",),
}
"""A file of every format, and the options that it takes to load it."""


class Victim(nn.Module):
    """[N, 3, H, W] -> [N, 2, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(torch.relu(self.norm(self.first(x))))
        return y
