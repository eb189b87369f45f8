"""One image from a cold shell, next to the shortest script that does the same."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.measurement import Measurement
from benchmarks.nets import resnet50
from benchmarks.timing import fresh, in_turns, times

ROUNDS = 5
ROOT = Path(__file__).parents[1]
IMAGE = ROOT / "sample_images" / "room_02.png"
SCRIPT = """
import sys
import numpy as np
import torch
from PIL import Image
model = torch.jit.load(sys.argv[1]).eval()
side = int(sys.argv[3])
picture = Image.open(sys.argv[2]).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
x = torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)[None].contiguous()
x.requires_grad_()
model(x).sum().backward()
np.save(sys.argv[4], x.grad.numpy())
"""


def measurements() -> Iterator[Measurement]:
    """The ratio for a small model and for a large one."""
    with TemporaryDirectory() as folder:
        large = Path(folder, "resnet50.ts")
        torch.jit.trace(resnet50(), torch.rand(1, 3, 224, 224)).save(str(large))  # type: ignore[no-untyped-call]
        models = {"`depth.ts`": (ROOT / "sample_models" / "depth.ts", 128)}
        models["ResNet-50-shaped TorchScript"] = large, 224
        for name, (model, side) in models.items():
            out = Path(folder, "out")
            command = ["-m", "gradviz", "saliency", model, IMAGE, "--seed", "ones", "--quiet"]
            command += ["--resize", f"{side}x{side}", "--overwrite", "-o", out]
            works = {
                "gradviz": partial(fresh, *command),
                "script": partial(fresh, "-c", SCRIPT, model, IMAGE, side, f"{out}.npy"),
            }
            taken = in_turns(works, ROUNDS)
            yield Measurement(
                f"one image from a cold shell, {name}",
                "a script: import torch, load, one pass, save the array",
                times(taken["gradviz"], taken["script"]),
                "×",
                most=1.25,
            )
            yield Measurement(f"one image from a cold shell, {name}", "", taken["gradviz"], "s")
