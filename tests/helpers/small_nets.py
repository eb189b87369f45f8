"""The networks of the model tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ARCH = "tests.helpers.small_nets:small_net"
"""The network as --arch takes it."""


class SmallNet(nn.Module):
    """[N, 3, H, W] -> [N, classes] with batch norm, a skip, and pooling; any size from 2 on."""

    def __init__(self, width: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.block = nn.Sequential(nn.ReLU())
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.norm(self.first(x)))
        a = a + self.block(self.second(a))
        scores: Tensor = self.head(F.max_pool2d(a, 2).mean((2, 3)))
        return scores


def small_net(width: int = 4, classes: int = 3) -> nn.Module:
    """A trained-looking network: its running statistics are not those of a fresh one."""
    torch.manual_seed(0)
    net = SmallNet(width, classes)
    net(torch.rand(8, 3, 8, 8) * 3)
    return net


def raises() -> nn.Module:
    raise ValueError("no such\nwidth")


def leaves() -> nn.Module:
    raise SystemExit(2)


def no_module() -> str:
    return "a network"


constant = 3
