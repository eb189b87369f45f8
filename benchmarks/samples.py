"""SmoothGrad next to as many single passes, and what its memory depends on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import gradviz
from benchmarks.images import noise
from benchmarks.measurement import Measurement
from benchmarks.nets import resnet50
from benchmarks.timing import fresh, in_turns, times
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.settings import Settings
from gradviz.model.fast import optimised
from gradviz.model.model import Model
from gradviz.seeds.seed import parse_seed

ROUNDS = 3
SAMPLES = 32
FEW, MANY = 8, 64
"""Samples whose memory is compared."""
ROOT = Path(__file__).parents[1]
DEPTH = ROOT / "sample_models" / "depth.yaml"


def speed(name: str, model: Model, side: int, seed: str) -> Measurement:
    """How many times as fast the samples are, on the same form of the model."""
    image, seeds = noise(side), [parse_seed(seed)]
    faster = optimised(model, image.prepared.tensor[None].to(model.dtype))
    smooth = Settings(method="smoothgrad", samples=SAMPLES)
    single = Settings(batch_size=1)

    def passes() -> None:
        for _ in range(SAMPLES):
            list(Explainer(faster, single).outcomes([image], seeds))

    works = {
        "samples": lambda: list(Explainer(faster, smooth).outcomes([image], seeds)),
        "passes": passes,
    }
    taken = in_turns(works, ROUNDS)
    return Measurement(
        f"speed, {SAMPLES} SmoothGrad samples, {name} at {side}²",
        f"{SAMPLES} single passes",
        times(taken["passes"], taken["samples"]),
        "×",
        least=1,
    )


def memory() -> Iterator[Measurement]:
    """The peak of whole commands with few and with many samples."""
    image = ROOT / "sample_images" / "room_02.png"
    with TemporaryDirectory() as folder:
        command = ["-m", "gradviz", "saliency", DEPTH, image, "--resize", "512x512", "--quiet"]
        command += ["--method", "smoothgrad", "--overwrite", "-o", folder]
        few, many = (
            fresh(*command, "--batch-size", FEW, "--samples", count).gib for count in (FEW, MANY)
        )
    what = f"peak memory, {MANY} samples in batches of {FEW}"
    yield Measurement(what, f"{FEW} samples", (many / few,), "×", most=1.1)
    yield Measurement(what, "", (many,), "GiB")


def measurements() -> Iterator[Measurement]:
    """Speed on a large network and on a small one, and memory."""
    yield speed("ResNet-50-shaped", gradviz.wrap(resnet50()), 224, "class:207")
    yield speed("depth model", gradviz.load_model(DEPTH), 128, "ones")
    yield from memory()
