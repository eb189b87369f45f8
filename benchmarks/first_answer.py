"""The first answer: a pixel of a large image, and fields, each from a cold shell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import gradviz
from benchmarks import nets
from benchmarks.measurement import Measurement
from benchmarks.timing import fresh, in_turns, times
from gradviz.field.probe import Probe, probes_without_numbers

ROUNDS = 3
ROOT = Path(__file__).parents[1]
DEPTH = ROOT / "sample_models" / "depth.yaml"
IMAGE = ROOT / "sample_images" / "room_02.png"

PIXEL = """
import sys, time
import numpy as np
import gradviz
model = gradviz.load_model(sys.argv[1])
side = int(sys.argv[2])
image = np.random.default_rng(0).random((3, side, side), np.float32)
started = time.perf_counter()
(found,) = gradviz.saliency(model, image, "pixel:120,120")
first = time.perf_counter() - started
x0, y0, x1, y1 = 0, 0, *(1 + np.flatnonzero(found.array.any(axis=(0, n)))[-1] for n in (1, 2))
crop = image[:, : 8 * -(-y1 // 8), : 8 * -(-x1 // 8)]
passes = []
for _ in range(5):
    started = time.perf_counter()
    x = model.batch_of(__import__("torch").from_numpy(crop.copy()))
    model(x)[0, ..., 120, 120].sum().backward()
    passes.append(time.perf_counter() - started)
print(first, sorted(passes)[2])
"""
"""Prints the seconds of the first pixel of a process, and of a bare pass over its crop."""

BARE = """
import sys
import torch
from benchmarks import nets
net = getattr(nets, sys.argv[1])().requires_grad_(False)
x = torch.rand(1, 3, int(sys.argv[2]), int(sys.argv[3])).requires_grad_()
net(x).sum().backward()
"""

MEMORY = """
import re
import torch
import gradviz
from benchmarks import nets
from gradviz.commands.receptive_field.measure import FieldMeter, FieldSettings, choose_size
from gradviz.image.preprocess import Preprocess

def kib(name):
    with open("/proc/self/status") as file:
        return int(re.search(name + r":\\s+(\\d+) kB", file.read())[1])

model = gradviz.wrap(nets.fcn_resnet50())
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak begins again: building took more for a moment
before = kib("VmRSS")
meter = FieldMeter(model, Preprocess(), FieldSettings())
geometry = meter.geometry
probe = meter.probe_at(choose_size(meter.probe_at, geometry))
probe.structural(*(side // 2 for side in probe.size))
print((kib("VmHWM") - before) / 1024)
"""


def said(script: str, *arguments: object) -> list[float]:
    """The numbers that a script prints in a fresh process."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout
    return [float(word) for word in told.split()]


def pixel() -> Iterator[Measurement]:
    """A one-pixel seed on the depth model."""
    works = {side: partial(fresh, "-c", PIXEL, DEPTH, side) for side in (2048, 256)}
    taken = in_turns({str(side): work for side, work in works.items()}, ROUNDS)
    yield Measurement(
        "one-pixel seed on the depth model at 2048², cold, nothing read or drawn",
        "the same at 256²",
        times(taken["2048"], taken["256"]),
        "×",
        most=1.3,
    )
    firsts = [said(PIXEL, DEPTH, 2048) for _ in range(ROUNDS)]
    what = "the same at 2048², first in a process"
    yield Measurement(
        what + ", less 60 ms",
        "the bare pass of its crop",
        tuple((first - 0.06) / bare for first, bare in firsts),
        "×",
        most=3,
    )
    with TemporaryDirectory() as folder:
        command = ["-m", "gradviz", "saliency", DEPTH, IMAGE, "--seed", "pixel:1000,900"]
        command += ["--resize", "2048x2048", "--array", "none", "--quiet", "-o", Path(folder, "o")]
        yield Measurement(
            "its peak resident memory", "", (fresh(*command).gib * 1024,), "MiB", most=700
        )


def fields() -> Iterator[Measurement]:
    """`receptive-field` from a cold shell."""
    with TemporaryDirectory() as folder:
        for name in ("resnet18", "resnet50_features", "vgg16", "fcn_resnet50", "unet"):
            weights = Path(folder, f"{name}.pt")
            torch.save(getattr(nets, name)().state_dict(), weights)
            out = Path(folder, name)
            command: list[Any] = ["-m", "gradviz", "receptive-field", weights, "--quiet"]
            command += ["--arch", f"benchmarks.nets:{name}", "--samples", 1, "-o", out]
            command += ["--overwrite"]
            fresh(*command)
            (entry,) = json.loads((out / "field.json").read_text())["fields"]
            height, width = np.load(out / entry["files"]["structural.npy"]).shape
            works = {
                "field": partial(fresh, *command),
                "bare": partial(fresh, "-c", BARE, name, height, width),
            }
            if name in ("resnet50_features", "unet"):
                works["layers"] = partial(fresh, *command, "--layers")
            taken = in_turns(works, ROUNDS, warm=0)
            size = f"{name} at {width}x{height}"
            if name != "unet":
                yield Measurement(
                    f"receptive-field --samples 1, cold, {size}",
                    "import torch, build, one bare pass",
                    times(taken["field"], taken["bare"]),
                    "×",
                    most=1.5,
                )
            if "layers" in works:
                yield Measurement(
                    f"receptive-field --layers, {size}",
                    "the same without --layers",
                    times(taken["layers"], taken["field"]),
                    "×",
                    most=2,
                )
    (more,) = said(MEMORY)
    yield Measurement(
        "memory for structure and geometry, fcn_resnet50", "", (more,), "MiB", most=300
    )


def structure() -> Iterator[Measurement]:
    """One structural field without numbers."""
    net = nets.resnet50(features=True).requires_grad_(False)
    model = gradviz.wrap(net)
    probe_at = probes_without_numbers(Probe(model, torch.rand(3, 64, 64)))
    assert probe_at is not None
    x = torch.rand(1, 3, 1024, 1024)

    def plain() -> None:
        given = x.clone().requires_grad_()
        net(given).sum().backward()

    works = {"plain": plain, "field": lambda: probe_at((1024, 1024)).structural(16, 16)}
    taken = in_turns(works, ROUNDS)
    yield Measurement(
        "structural field, ResNet-50-shaped at 1024², without numbers",
        "its plain forward and backward pass",
        times(taken["field"], taken["plain"]),
        "×",
        most=0.25,
    )


def measurements() -> Iterator[Measurement]:
    """Every figure."""
    yield from structure()
    yield from pixel()
    yield from fields()
