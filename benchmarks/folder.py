"""A folder of images, file to PNG and npy, next to the bare pass over tensors in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import gradviz
from benchmarks.images import photos
from benchmarks.measurement import Measurement
from benchmarks.nets import resnet50
from benchmarks.timing import in_turns, times
from gradviz.commands.saliency.run import Job, SaliencyRun
from gradviz.commands.saliency.settings import Settings
from gradviz.image.find import Source
from gradviz.image.load import load_image
from gradviz.image.preprocess import Preprocess
from gradviz.model.fast import optimised
from gradviz.model.model import Model
from gradviz.runs.resume import RunWriter

ROUNDS = 2
IMAGES = 200
CLASSIFIER = Preprocess(resize=256, crop=224)
SHAPES = Path(__file__).parents[1] / "sample_models" / "shapes.yaml"


def rates(
    model: Model, sources: Sequence[Source], preprocess: Preprocess, settings: Settings, rounds: int
) -> tuple[float, ...]:
    """At which share of the bare pass's rate the folder is done, round by round.

    The bare pass has its images on the device, and the same faster form of the model.
    """
    size = settings.batch_size
    tensors = [load_image(source, preprocess).prepared.tensor for source in sources]
    faster = optimised(model, tensors[0][None])
    x = torch.stack(tensors).to(model.device, model.dtype)

    def bare() -> None:
        for batch in torch.split(x, size):
            given = batch.clone().requires_grad_()
            torch.autograd.grad(faster.module(given).amax(1).sum(), given)
        if x.is_cuda:
            torch.cuda.synchronize()

    numbers = count()
    with TemporaryDirectory() as folder:

        def whole() -> None:
            out = RunWriter(Path(folder, str(next(numbers))))
            job = Job(model, sources, preprocess, [], settings)
            with out.held(overwrite=False, resume=False), SaliencyRun(job, out) as run:
                lines = list(run)
            assert all(line.status == "ok" for line in lines)

        taken = in_turns({"bare": bare, "whole": whole}, rounds, warm=0)
    return times(taken["bare"], taken["whole"])


def measurements() -> Iterator[Measurement]:
    """The shares for a large network and for a small one."""
    against = "the rate of the bare pass on the same batches"
    shapes = gradviz.load_model(SHAPES)
    assert shapes.preprocess is not None
    with TemporaryDirectory() as folder:
        sources = photos(Path(folder), IMAGES)
        settings = Settings()
        share = rates(gradviz.wrap(resnet50()), sources, CLASSIFIER, settings, ROUNDS)
        yield Measurement(
            f"{IMAGES} images, file to PNG + npy, ResNet-50-shaped", against, share, "×", least=0.8
        )
        share = rates(shapes, sources, shapes.preprocess, settings, ROUNDS)
        yield Measurement(f"{IMAGES} images, file to PNG + npy, `shapes`", against, share, "×")
