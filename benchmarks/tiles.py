"""Images in parts next to the same images at once: a pixel of a large image, tiles, and the memory
of a huge image."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from PIL import Image

import gradviz
from gradviz.backward.seeds import parse_seed
from gradviz.heatmap.views import Floats
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.model.model import Model
from gradviz.run.explain import explain
from gradviz.run.images import Named
from gradviz.run.local import Local
from gradviz.run.plan import plan_of
from gradviz.run.result import Saliency
from gradviz.run.settings import Settings, Tile

DEPTH = Path(__file__).parents[1] / "sample_models" / "depth.yaml"
ROUNDS = 3
LARGE, HUGE = 2048, 8192
"""Sides of images."""


class Run:
    """A run with its own knowledge of the model."""

    def __init__(self, model: Model, tile: Tile) -> None:
        self.model = model
        self.plan = plan_of(Settings(tile=tile))
        self.local = Local(model, self.plan)

    def seconds(self, image: Named, seed: str) -> tuple[float, Floats]:
        """How long one pass takes, and its gradient."""
        started = perf_counter()
        (found,) = explain(self.model, [image], [parse_seed(seed)], self.plan, self.local)
        seconds = perf_counter() - started
        assert isinstance(found, Saliency)
        return seconds, found.array


def compare(what: str, model: Model, side: int, seed: str, tile: Tile, least: float) -> None:
    """Print how many times as fast as at once the parts are, pair by pair."""
    pixels = np.random.default_rng(0).random((3, side, side), np.float32)
    image = Named("noise", prepare(Picture(pixels, "array"), Preprocess()))
    ratios, first, error = [], [], 0.0
    for _ in range(ROUNDS):
        in_parts = Run(model, tile)
        whole, expected = Run(model, "off").seconds(image, seed)
        probed, _ = in_parts.seconds(image, seed)
        again, got = in_parts.seconds(image, seed)
        ratios.append(whole / again)
        first.append(whole / probed)
        error = max(error, float(np.linalg.norm(got - expected) / np.linalg.norm(expected)))
    print(f"{what:50} {median(ratios):8.2f} times as fast as at once, at least {least:g} wanted")
    print(f"{'  the first of a run, which tries the model':50} {median(first):8.2f}")
    print(f"{'  relative difference':50} {error:8.1e}")


def memory() -> None:
    """Print the largest memory of a whole command on a huge image."""
    tile = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        image = Path(folder, "huge.png")
        Image.fromarray(np.tile(tile, (HUGE // 512, HUGE // 512, 1))).save(image, compress_level=1)
        command = [sys.executable, "-m", "gradviz", "saliency", str(DEPTH), str(image)]
        command += ["--resize", str(HUGE), "-o", str(Path(folder, "out")), "--quiet"]
        started = perf_counter()
        subprocess.run(command, check=True)
        seconds = perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{f'ones at {HUGE}², the whole command':50} {peak:8.2f} GiB at most, below 3 wanted")
    print(f"{'  minutes':50} {seconds / 60:8.1f}")


def main() -> None:
    """Print every figure, on the depth model."""
    model = gradviz.load_model(DEPTH)
    compare(f"a pixel at {LARGE}²", model, LARGE, "pixel:1000,900", "auto", 100)
    compare(f"ones at {LARGE // 2}², in tiles of 512", model, LARGE // 2, "ones", 512, 1)
    memory()
