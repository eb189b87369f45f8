"""The pass itself, in memory, next to Captum and to the script that people write."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from captum.attr import Saliency
from torch.utils.flop_counter import FlopCounterMode

import gradviz
from benchmarks.images import noise
from benchmarks.measurement import Measurement
from benchmarks.nets import resnet50
from benchmarks.timing import in_turns, times
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.settings import Settings
from gradviz.model.fast import optimised
from gradviz.seeds.seed import parse_seed

ROUNDS = 7
BATCH, SIDE, CLASS = 8, 224, 207
MATRIX = 2048
"""Rows and columns of the matrices that show what the machine can do."""


def measurements() -> Iterator[Measurement]:
    """How many times as fast, and at which share of the machine's own rate."""
    net = resnet50()
    model = gradviz.wrap(net)
    images = [noise(SIDE, n) for n in range(BATCH)]
    x = torch.stack([image.prepared.tensor for image in images])
    faster = optimised(model, x[:1])
    explainer = Explainer(faster, Settings(batch_size=BATCH))
    seeds = [parse_seed(f"class:{CLASS}")]
    captum = Saliency(net)
    a, b = torch.rand(2, MATRIX, MATRIX)

    def usual() -> None:
        net.zero_grad()
        given = x.clone().requires_grad_()
        net(given)[:, CLASS].sum().backward()

    works = {
        "gradviz": lambda: list(explainer.outcomes(images, seeds)),
        "captum": lambda: captum.attribute(x.clone().requires_grad_(), target=CLASS),
        "usual": usual,
        "matrices": lambda: torch.mm(a, b),
    }
    taken = in_turns(works, ROUNDS)
    with FlopCounterMode(display=False) as counter:
        given = x.clone().requires_grad_()
        faster.module(given)[:, CLASS].sum().backward()
    flop = counter.get_total_flops()
    rates = tuple(2 * MATRIX**3 / seconds for seconds in taken["matrices"])
    possible = tuple(flop / rate for rate in rates)

    what = f"ResNet-50-shaped, batch {BATCH} at {SIDE}², float32"
    captums = "Captum's `Saliency`"
    yield Measurement(
        f"speed, {what}", captums, times(taken["captum"], taken["gradviz"]), "×", least=2.0
    )
    yield Measurement(
        f"speed, {what}",
        "the usual `y.backward()` script",
        times(taken["usual"], taken["gradviz"]),
        "×",
        least=2.2,
    )
    yield Measurement(
        "what that would be, were every operation as fast as a large matrix product",
        captums,
        times(taken["captum"], possible),
        "×",
        remark="convolutions can run at a higher rate",
    )
    yield Measurement(
        "the pass, operations per second",
        f"a product of {MATRIX}² matrices",
        times(possible, taken["gradviz"]),
        "×",
    )
    yield Measurement(
        f"a product of {MATRIX}² matrices", "", tuple(rate / 1e9 for rate in rates), "GFLOP/s"
    )
