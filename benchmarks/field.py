"""One structural field next to a plain forward and backward pass of the same network."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import gradviz
from benchmarks.measurement import Measurement
from benchmarks.nets import resnet50
from benchmarks.timing import in_turns, times
from gradviz.field.probe import Probe

SIDE = 512
ROUNDS = 5


def measurements() -> Iterator[Measurement]:
    """How many plain passes a field costs."""
    net = resnet50(features=True).requires_grad_(False)
    model = gradviz.wrap(net)
    x = torch.rand(3, SIDE, SIDE)

    def plain() -> None:
        given = x[None].clone().requires_grad_()
        torch.autograd.grad(net(given).sum(), given)

    works = {"plain": plain, "field": lambda: Probe(model, x).structural(8, 8)}
    taken = in_turns(works, ROUNDS)
    yield Measurement(
        f"structural field, ResNet-50-shaped at {SIDE}²",
        "its plain forward and backward pass",
        times(taken["field"], taken["plain"]),
        "×",
        most=3,
    )
