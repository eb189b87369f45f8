"""One structural field next to a plain forward and backward pass of the same network."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import torch

import gradviz
from benchmarks.nets import resnet50
from gradviz.field.structural import Probe

SIDE = 512
ROUNDS = 5
LIMIT = 3.0


def main() -> None:
    """Print the median ratio over `ROUNDS`, measured pair by pair."""
    net = resnet50(features=True)
    model = gradviz.wrap(net)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    x = torch.rand(3, SIDE, SIDE)
    ratios = []
    for _ in range(ROUNDS):
        started = perf_counter()
        plain = x[None].clone().requires_grad_()
        torch.autograd.grad(net(plain).sum(), plain)
        passed = perf_counter()
        Probe(model, x).structural(8, 8)
        ratios.append((perf_counter() - passed) / (passed - started))
    print(f"structural field of a ResNet-50 at {SIDE}², over a plain pass: {median(ratios):.2f}")
    print(f"limit{'':57}{LIMIT:.2f}")
