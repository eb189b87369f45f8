"""Images in parts next to the same images at once: a pixel of a large image, tiles, and the memory
of a huge image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from PIL import Image

import gradviz
from benchmarks.images import noise
from benchmarks.measurement import Measurement
from benchmarks.timing import fresh
from gradviz.arrays import Floats
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.result import Attribution
from gradviz.commands.saliency.settings import Settings, TileOption
from gradviz.image.load import LoadedImage
from gradviz.model.model import Model
from gradviz.seeds.seed import parse_seed

DEPTH = Path(__file__).parents[1] / "sample_models" / "depth.yaml"
ROUNDS = 3
LARGE, HUGE = 2048, 8192
"""Sides of images."""


class Run:
    """A run with its own knowledge of the model."""

    def __init__(self, model: Model, tile: TileOption) -> None:
        self.explainer = Explainer(model, Settings(tile=tile))

    def seconds(self, image: LoadedImage, seed: str) -> tuple[float, Floats]:
        """How long one pass takes, and its gradient."""
        started = perf_counter()
        (found,) = self.explainer.outcomes([image], [parse_seed(seed)])
        seconds = perf_counter() - started
        assert isinstance(found, Attribution)
        return seconds, found.array


def in_parts(
    what: str, model: Model, side: int, seed: str, tile: TileOption, least: float
) -> Iterator[Measurement]:
    """How many times as fast as at once the parts are, and how far they are off."""
    image = noise(side)
    again, first, off = [], [], []
    for _ in range(ROUNDS):
        parts = Run(model, tile)
        whole, expected = Run(model, "off").seconds(image, seed)
        probed, _ = parts.seconds(image, seed)
        known, got = parts.seconds(image, seed)
        again.append(whole / known)
        first.append(whole / probed)
        off.append(float(np.linalg.norm(got - expected) / np.linalg.norm(expected)))
    untiled = "the untiled pass"
    yield Measurement(f"speed, {what}", untiled, tuple(again), "×", least=least)
    yield Measurement(
        f"speed, {what}, first of a run", untiled, tuple(first), "×", remark="tries the model first"
    )
    yield Measurement(f"relative difference, {what}", untiled, tuple(off), "", most=1e-5)


def memory() -> Iterator[Measurement]:
    """What a whole command takes on a huge image."""
    tile = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        image = Path(folder, "huge.png")
        Image.fromarray(np.tile(tile, (HUGE // 512, HUGE // 512, 1))).save(image, compress_level=1)
        command = ["-m", "gradviz", "saliency", DEPTH, image, "--resize", HUGE, "--quiet"]
        cost = fresh(*command, "-o", Path(folder, "out"))
    what = f"`ones` on the depth model at {HUGE}²"
    yield Measurement(f"peak resident memory, {what}", "", (cost.gib,), "GiB", most=3)
    yield Measurement(f"time, {what}", "", (cost.seconds,), "s")


def measurements() -> Iterator[Measurement]:
    """Every measurement, on the depth model."""
    model = gradviz.load_model(DEPTH)
    pixel = f"one-pixel seed on the depth model at {LARGE}²"
    yield from in_parts(pixel, model, LARGE, "pixel:1000,900", "auto", 100)
    ones = f"`ones` on the depth model at {LARGE // 2}², in tiles of 512"
    yield from in_parts(ones, model, LARGE // 2, "ones", 512, 1)
    yield from memory()
