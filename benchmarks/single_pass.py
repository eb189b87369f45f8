"""The pass itself, in memory, next to Captum and to the script that people write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from captum.attr import Saliency
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import gradviz
from benchmarks.images import noise
from benchmarks.measurement import Measurement
from benchmarks.nets import resnet50
from benchmarks.timing import in_turns, times
from gradviz.arrays import Floats
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.result import Attribution
from gradviz.commands.saliency.settings import Settings
from gradviz.image.find import Source
from gradviz.image.load import LoadedImage, load_image
from gradviz.model.fast import optimised
from gradviz.model.model import Model
from gradviz.seeds.seed import parse_seed

ROUNDS = 7
BATCH, SIDE, CLASS = 8, 224, 207
SAMPLES = (("depth.yaml", "room_0*.png", "ones"), ("shapes.yaml", "shapes_*.png", "class:circle"))
"""Sample models in bfloat16: their card, their images and a seed."""
KINDS = {
    "convolutions, forwards": ("mkldnn_convolution",),
    "convolutions, backwards": ("convolution_backward",),
    "ReLU, forwards": ("clamp_min", "clamp_min_", "relu", "relu_"),
    "ReLU, backwards": ("threshold_backward",),
    "sums at skips": ("add", "add_"),
}
"""The operations of the pass that take time."""
ROOT = Path(__file__).parents[1]
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
        f"speed, {what}", captums, times(taken["captum"], taken["gradviz"]), "×", least=1.75
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
    best = best_convolution(faster, x)
    yield Measurement("the best of its convolutions, forwards", "", best, "GFLOP/s")
    rate = max(best) * 1e9
    yield Measurement(
        "the pass, operations per second",
        "the best of its convolutions",
        tuple(flop / seconds / rate for seconds in taken["gradviz"]),
        "×",
    )
    yield Measurement(
        f"a product of {MATRIX}² matrices", "", tuple(rate / 1e9 for rate in rates), "GFLOP/s"
    )
    yield from shares(works["gradviz"])
    for card, pictures, seed in SAMPLES:
        yield from narrow(card, pictures, seed)


def shares(work: Callable[[], object]) -> Iterator[Measurement]:
    """The share of a pass's time that each kind of operation takes."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(ROUNDS):
            work()
    taken = {each.key: each.self_cpu_time_total for each in found.key_averages()}
    for kind, names in KINDS.items():
        share = sum(taken.get(f"aten::{name}", 0) for name in names) / sum(taken.values())
        yield Measurement(f"the pass, share of its time in {kind}", "", (100 * share,), "%")


def narrow(card: str, pictures: str, seed: str) -> Iterator[Measurement]:
    """The speed of a sample model in bfloat16, and its error beside that of float32."""
    taken, found = {}, {}
    for precision in ("float64", "float32", "bfloat16"):
        model = gradviz.load_model(ROOT / "sample_models" / card, precision=precision)
        assert model.preprocess is not None
        images = [
            load_image(Source(path, path.name), model.preprocess)
            for path in sorted((ROOT / "sample_images").glob(pictures))
        ]
        first = images[0].prepared.tensor[None].to(model.dtype)
        explainer = Explainer(optimised(model, first), Settings(batch_size=len(images)))
        work = partial(_gradients, explainer, images, seed)
        found[precision], taken[precision] = work(), work
    rounds = in_turns({name: taken[name] for name in ("float32", "bfloat16")}, ROUNDS)
    what = f"{card.removesuffix('.yaml')} model, `{seed}`, {len(found['float64'])} images"
    yield Measurement(
        f"speed in bfloat16, {what}", "float32", times(rounds["float32"], rounds["bfloat16"]), "×"
    )
    for precision in ("bfloat16", "float32"):
        off = [
            float(np.linalg.norm(got - exact) / np.linalg.norm(exact))
            for got, exact in zip(found[precision], found["float64"], strict=True)
        ]
        yield Measurement(f"relative error in {precision}, {what}", "float64", tuple(off), "")


def _gradients(explainer: Explainer, images: Sequence[LoadedImage], seed: str) -> list[Floats]:
    found = list(explainer.outcomes(images, [parse_seed(seed)]))
    return [each.array for each in found if isinstance(each, Attribution)]


def best_convolution(model: Model, x: Tensor) -> tuple[float, ...]:
    """The rate of the quickest convolution among those of a pass, in GFLOP/s, round by round."""
    shapes: dict[tuple[Any, ...], tuple[Any, tuple[Any, ...]]] = {}

    def note(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        work = 2 * made.numel() * layer.weight[0].numel()
        shapes[tuple(given[0].shape), tuple(layer.weight.shape)] = (layer, (given[0], work))

    layers = [each for each in model.module.modules() if isinstance(each, nn.Conv2d)]
    handles = [each.register_forward_hook(note) for each in layers]
    with torch.no_grad():
        model(x)
        for handle in handles:
            handle.remove()
        best = []
        for _ in range(ROUNDS):
            rates = []
            for layer, (given, work) in shapes.values():
                started = perf_counter()
                layer(given)
                rates.append(work / (perf_counter() - started) / 1e9)
            best.append(max(rates))
    return tuple(best)
