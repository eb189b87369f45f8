"""The pass over one batch: images and seeds in, gradients out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gradviz.backward.methods import Method
from gradviz.backward.seeds import Seed, Site, default_seed
from gradviz.backward.vjp import vjp
from gradviz.errors import ModelError, SeedError
from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model
from gradviz.run.images import Named
from gradviz.run.result import Failure, Outcome, Saliency, failures


def explain(
    model: Model, images: Sequence[Named], seeds: Sequence[Seed], method: Method
) -> Iterator[Outcome]:
    """One outcome for every image and seed, each as soon as it is computed.

    Images of one size share a forward pass, and all seeds share it too. Without seeds, the default
    for the output's layout is taken. An image that a seed does not fit fails for that seed alone.

    Raises:
        UsageError: the model has several outputs, and none was named.
    """
    by_size: defaultdict[torch.Size, list[Named]] = defaultdict(list)
    for image in images:
        by_size[image.prepared.tensor.shape].append(image)
    for group in by_size.values():
        yield from _together(model, group, seeds, method)


def _together(
    model: Model, group: Sequence[Named], seeds: Sequence[Seed], method: Method
) -> Iterator[Outcome]:
    """The outcomes of images of one size, in one pass, or one by one where the model fails."""
    x = torch.stack([image.prepared.tensor for image in group])
    x = x.to(model.device, model.dtype).requires_grad_()
    # What draws random numbers draws the same ones for this batch in every run.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            y = model(x)
        except ModelError as error:
            if len(group) == 1:
                yield from failures(group[0].name, seeds, error)
                return
        else:
            yield from _pull_back(model, group, x, y, seeds, method)
            return
    for image in group:
        yield from _together(model, [image], seeds, method)


def _pull_back(
    model: Model,
    group: Sequence[Named],
    x: Tensor,
    y: Tensor,
    seeds: Sequence[Seed],
    method: Method,
) -> Iterator[Outcome]:
    output = y.detach()
    seeds = seeds or (default_seed(output[0]),)
    for left, seed in zip(range(len(seeds) - 1, -1, -1), seeds, strict=True):
        v = torch.zeros_like(output)
        misfits: dict[int, SeedError] = {}
        for n, image in enumerate(group):
            try:
                v[n] = seed.cotangent(output[n], Site(image.prepared.frame, model.labels))
            except SeedError as error:
                misfits[n] = error
        try:
            with foreign_code(f"{model.name}: the backward pass failed"):
                gradient = vjp(y, x, v, keep=left > 0)
        except ModelError as error:
            if len(group) == 1:
                yield Failure(group[0].name, seed.spec, error)
            else:
                for image in group:
                    yield from _together(model, [image], [seed], method)
            continue
        arrays = method.finish(x, gradient).float().cpu().numpy()
        for n, image in enumerate(group):
            if n in misfits:
                yield Failure(image.name, seed.spec, misfits[n])
            else:
                yield Saliency(
                    image=image.name,
                    seed=seed.spec,
                    method=method,
                    array=np.ascontiguousarray(arrays[n]),
                    output_shape=tuple(output[n].shape),
                    score=_inner(v[n], output[n]),
                    prepared=image.prepared,
                )


def _inner(v: Tensor, y: Tensor) -> float:
    """⟨v, y⟩ in float64; an output that is not seeded may be Inf without spoiling it."""
    return float(torch.where(v != 0, v.double() * y.double(), 0).sum())
