"""Folders of `save_pretrained`, next to a script with the library's own processor and model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.measurement import Measurement
from benchmarks.timing import Cost, fresh, times
from tests.helpers.torchvision_here import make_torchvision_importable

ROUNDS = 5
ROOT = Path(__file__).parents[1]
IMAGE = ROOT / "sample_images" / "room_02.png"

BEGIN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.helpers.torchvision_here import make_torchvision_importable
make_torchvision_importable()
"""

SCRIPT = f"""{BEGIN}
import numpy as np
import torch
import transformers
from PIL import Image
kind, folder, image, out = sys.argv[1:]
model = getattr(transformers, kind).from_pretrained(folder).eval()
processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
x = processor(Image.open(image).convert("RGB"), return_tensors="pt")["pixel_values"]
scores = model(pixel_values=x.requires_grad_()).logits
(gradient,) = torch.autograd.grad(scores[0, scores[0].argmax()], x)
np.save(out, gradient[0].numpy())
"""

COMMAND = f"""{BEGIN}
from gradviz.__main__ import main
main()
"""


def measurements() -> Iterator[Measurement]:
    """The ratios of time and of memory, from a cold shell."""
    make_torchvision_importable()
    library: Any = import_module("transformers")
    models = {
        "ViT-B/16": ("ViT", library.ViTConfig, "ViT", {"height": 224, "width": 224}),
        "ResNet-50": ("ResNet", library.ResNetConfig, "ConvNext", {"shortest_edge": 224}),
    }
    with TemporaryDirectory() as place:
        for name, (family, config, processor, size) in models.items():
            kind, folder = f"{family}ForImageClassification", Path(place, family)
            torch.manual_seed(0)
            getattr(library, kind)(config(num_labels=1000)).save_pretrained(folder)
            getattr(library, f"{processor}ImageProcessorPil")(size=size).save_pretrained(folder)
            out = Path(place, "out")
            command: list[object] = ["-c", COMMAND, "saliency", folder, IMAGE, "--seed", "top"]
            command += ["--quiet", "--overwrite", "-o", out]
            script = ["-c", SCRIPT, kind, folder, IMAGE, f"{out}.npy"]
            yield from beside(f"{name} from a folder of `save_pretrained`", command, script)


def beside(what: str, command: list[object], script: list[object]) -> Iterator[Measurement]:
    """The cost of gradviz beside that of a script, in turns."""
    works = {"gradviz": partial(fresh, *command), "script": partial(fresh, *script)}
    costs: dict[str, list[Cost]] = {name: [work()] for name, work in works.items()}
    for _ in range(ROUNDS):
        for name, work in works.items():
            costs[name].append(work())
    ours, theirs = costs["gradviz"][1:], costs["script"][1:]  # the first read the files
    for quantity, field in (("time", "seconds"), ("processor time", "cpu"), ("peak memory", "gib")):
        of = attrgetter(field)
        yield Measurement(
            f"{quantity}, {what}, one image from a cold shell",
            "a script with transformers' processor and model",
            times(tuple(map(of, ours)), tuple(map(of, theirs))),
            "×",
            most=1.15,
        )
    yield Measurement(f"peak memory, {what}", "", tuple(1024 * cost.gib for cost in ours), "MiB")
