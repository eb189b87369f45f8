"""The pass and a folder of images on a CUDA device, and whether it computes what the CPU does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from captum.attr import Saliency

import gradviz
from benchmarks.folder import CLASSIFIER, rates
from benchmarks.images import noise, photos
from benchmarks.measurement import Measurement, NotHere
from benchmarks.nets import resnet50
from benchmarks.timing import in_turns, times
from gradviz.arrays import Floats
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.result import Attribution as Result
from gradviz.commands.saliency.settings import Settings
from gradviz.image.find import Source
from gradviz.image.load import LoadedImage
from gradviz.model.fast import optimised
from gradviz.seeds.seed import parse_seed

ROUNDS = 5
BATCH, SIDE, CLASS = 64, 224, 207
FILES, TURNS = 200, 20
"""Image files, and how often a run meets each of them."""


def gradients(images: list[LoadedImage], device: str, precision: str, optimize: bool) -> Floats:
    """Those of a class of the network, [N, 3, H, W]."""
    model = gradviz.wrap(resnet50(), device=device, precision=precision)
    one = images[0].prepared.tensor[None]
    if optimize:
        model = optimised(model, one.to(model.device, model.dtype))
    found = Explainer(model, Settings()).outcomes(images, [parse_seed(f"class:{CLASS}")])
    return np.stack([each.array for each in found if isinstance(each, Result)])


def accuracy() -> Measurement:
    """How much farther from the truth the device is than the CPU, image by image."""
    images = [noise(SIDE, n) for n in range(8)]
    exact, host, device = (
        gradients(images, where, precision, optimize).astype(np.float64)
        for where, precision, optimize in (
            ("cpu", "float64", False),
            ("cpu", "float32", True),
            ("cuda", "float32", True),
        )
    )
    host_off, device_off = (
        np.linalg.norm((each - exact).reshape(len(exact), -1), axis=1) for each in (host, device)
    )
    return Measurement(
        "error in float32, CUDA, against a pass in float64",
        "that of the CPU",
        tuple(float(each) for each in device_off / host_off),
        "×",
        most=4,
    )


def speed(precision: str) -> Iterator[Measurement]:
    """The pass and the folder in one precision."""
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    net = resnet50().to("cuda", dtype)
    model = gradviz.wrap(resnet50(), device="cuda", precision=precision)
    images = [noise(SIDE, n) for n in range(BATCH)]
    x = torch.stack([image.prepared.tensor for image in images]).to("cuda", dtype)
    faster = optimised(model, x[:1])
    settings = Settings(batch_size=BATCH)
    explainer = Explainer(faster, settings)
    seeds = [parse_seed(f"class:{CLASS}")]
    captum = Saliency(net)

    def theirs() -> None:
        captum.attribute(x.clone().requires_grad_(), target=CLASS)
        torch.cuda.synchronize()

    works = {
        "gradviz": lambda: list(explainer.outcomes(images, seeds)),
        "captum": theirs,
    }
    taken = in_turns(works, ROUNDS, warm=3)
    what = f"ResNet-50-shaped, batch {BATCH} at {SIDE}², {precision}, CUDA"
    against = "Captum's `Saliency`, images on the device"
    yield Measurement(f"speed, {what}", against, times(taken["captum"], taken["gradviz"]), "×")
    rate = tuple(BATCH / seconds for seconds in taken["gradviz"])
    yield Measurement(f"images from memory and back, {what}", "", rate, "images/s")
    with TemporaryDirectory() as folder:
        files = photos(Path(folder), FILES)
        sources = [Source(each.path, f"{n}/{each.name}") for n in range(TURNS) for each in files]
        yield Measurement(
            f"{len(sources)} images, file to PNG + npy, ResNet-50-shaped, {precision}, CUDA",
            "the rate of the bare pass on images on the device",
            rates(model, sources, CLASSIFIER, settings, rounds=3),
            "×",
            least=0.9,
        )


def measurements() -> Iterator[Measurement]:
    """Every measurement, in float32 and bfloat16.

    Raises:
        NotHere: there is no CUDA device.
    """
    if not torch.cuda.is_available():
        raise NotHere("no CUDA here")
    yield accuracy()
    yield from speed("float32")
    yield from speed("bfloat16")
