"""The pass over one batch: images and seeds in, gradients out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gradviz.backward.activations import Keeper
from gradviz.backward.layers import find_layer, last_map, run_with_layers
from gradviz.backward.vjp import inner
from gradviz.commands.saliency.attribute import Forward, Found, at_images, at_points
from gradviz.commands.saliency.plan import Plan
from gradviz.commands.saliency.result import Attribution, Outcome, failures
from gradviz.commands.saliency.tiled import Local
from gradviz.errors import LayerError, MemoryShort, ModelError, SeedError, UsageError
from gradviz.image.load import LoadedImage
from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model
from gradviz.runs.results import Failure
from gradviz.seeds.kinds import Site
from gradviz.seeds.seed import Seed, default_seed
from gradviz.text import listed


def explain(
    model: Model, images: Sequence[LoadedImage], seeds: Sequence[Seed], plan: Plan, local: Local
) -> Iterator[Outcome]:
    """One outcome for every image and seed, each as soon as it is computed.

    Images of one size share a forward pass, and all seeds share it too. Without seeds, the default
    for the output's layout is taken. An image that a seed does not fit fails for that seed alone.
    Where `local` says so, seeds are computed in parts of each image instead.

    Raises:
        UsageError: the model has several outputs, and none was named; or the layer that was named
            is not there.
    """
    by_size: defaultdict[tuple[int, ...], list[LoadedImage]] = defaultdict(list)
    for image in images:
        by_size[image.prepared.shape].append(image)
    for group in by_size.values():
        try:
            ways = list(local.split(group, seeds))
        except UsageError as error:
            yield from (failed for image in group for failed in failures(image.name, seeds, error))
            continue
        for apart, some in ways:
            if apart:
                yield from (local.outcome(image, seed) for seed in some for image in group)
            else:
                yield from _together(model, group, some, plan, local)


def _together(
    model: Model,
    group: Sequence[LoadedImage],
    seeds: Sequence[Seed],
    plan: Plan,
    local: Local,
    notes: tuple[str, ...] = (),
) -> Iterator[Outcome]:
    """The outcomes of images of one size, in one pass; in smaller groups where that fails.

    Where memory is short the group is halved, and where the model fails each image is tried alone.
    """
    done: list[Seed] = []
    try:
        yield from _at_once(model, group, seeds, plan, local, notes, done)
        return
    except (ModelError, LayerError) as error:
        left = seeds[len(done) :]
        if len(group) == 1:
            yield from failures(group[0].name, left, error)
            return
        size = 1
        if isinstance(error, MemoryShort):
            size = (len(group) + 1) // 2
            notes = (
                f"memory was short for {len(group)} images at once: computed by {size}, which "
                "rounds differently",
            )
    # Not before the error is gone, which holds on to the memory of the pass.
    for start in range(0, len(group), size):
        yield from _together(model, group[start : start + size], left, plan, local, notes)


def _at_once(
    model: Model,
    group: Sequence[LoadedImage],
    seeds: Sequence[Seed],
    plan: Plan,
    local: Local,
    notes: tuple[str, ...],
    done: list[Seed],
) -> Iterator[Outcome]:
    """The outcomes of images of one size, in one pass.

    Args:
        notes: what a reader of all the results must know.
        done: takes each seed when all of its outcomes are there.

    Raises:
        ModelError: the model fails, or memory is short in the backward pass of a seed.
    """
    x = torch.stack([image.prepared.tensor for image in group])
    if model.device.type == "cuda":  # copied while the device still works on what was before
        x = x.pin_memory()
    x = x.to(model.device, model.dtype, non_blocking=True)
    # What draws random numbers draws the same ones for this batch in every run.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        forward = _forward(model, x, plan)
        notes += local.repeats.notes(model, x.detach(), forward.y.detach())
        seeds = seeds or (default_seed(forward.y.detach()[0]),)
        for seed in seeds:
            keep = seed is not seeds[-1]
            yield from _under_seed(model, group, forward, seed, plan, local, notes, keep)
            done.append(seed)


def _forward(model: Model, x: Tensor, plan: Plan) -> Forward:
    if plan.points.walk is not None:  # then gradients are taken elsewhere
        return Forward(x, model(x))
    x.requires_grad_()
    if plan.at_input:
        return Forward(x, model(x))
    y, layers = run_with_layers(model.module, lambda: model(x), Keeper(model.module))
    layer = last_map(layers, y) if plan.layer is None else find_layer(layers, plan.layer)
    if plan.method.needs_layer and not layer.spatial:
        lacks = "has its channels last" if layer.channels_last else "has no spatial extent"
        maps = [each.name for each in reversed(layers.values()) if each.spatial]
        raise LayerError(
            f"--layer {layer.name}: its output {list(layer.shape)} {lacks}, and "
            f"{plan.method.name} needs a map [N, C, H, W], as in {listed(maps, 8) or 'no layer'}"
        )
    batch = model.batch or len(x)
    # Tokens may come as [T, N, C], which cannot be told where there are as many as images.
    if layer.shape[0] != batch or (len(layer.shape) == 3 and layer.shape[1] == batch > 1):
        raise LayerError(
            f"--layer {layer.name}: its output {list(layer.shape)} is not one for each image: "
            "name another layer"
        )
    return Forward(x, y, layer)


def _under_seed(
    model: Model,
    group: Sequence[LoadedImage],
    forward: Forward,
    seed: Seed,
    plan: Plan,
    local: Local,
    notes: tuple[str, ...],
    keep: bool,
) -> Iterator[Outcome]:
    output = forward.y.detach()
    v = torch.zeros_like(output)
    misfits: dict[int, SeedError] = {}
    for n, image in enumerate(group):
        try:
            v[n] = seed.cotangent(output[n], Site(image.prepared.frame, model.labels))
        except SeedError as error:
            misfits[n] = error
    try:
        found = _found(model, forward, v, plan, keep)
    except MemoryShort:
        raise
    except (ModelError, UsageError) as error:
        if len(group) == 1:
            yield Failure(group[0].name, seed.spec, error)
        else:
            for image in group:
                yield from _together(model, [image], [seed], plan, local, notes)
        return
    for n, image in enumerate(group):
        if n in misfits:
            yield Failure(image.name, seed.spec, misfits[n])
        else:
            yield Attribution(
                image=image.name,
                seed=seed.spec,
                method=plan.method,
                array=found[n].array,
                output_shape=tuple(output[n].shape),
                score=inner(v[n], output[n]),
                prepared=image.prepared,
                layer=None if forward.layer is None else forward.layer.name,
                beside=found[n].beside,
                gated=found[n].gated,
                samples=found[n].samples,
                completeness=found[n].completeness,
                # Where images are tried again, each is said twice.
                notes=tuple(dict.fromkeys(found[n].notes + notes)),
            )


def _found(model: Model, forward: Forward, v: Tensor, plan: Plan, keep: bool) -> Sequence[Found]:
    """What the method finds for each image, at the image itself or at points around it."""
    with foreign_code(f"{model.name}: the backward pass failed"):
        if plan.points.walk is None:
            return at_images(forward, v, plan, keep)
        return [
            at_points(model, x, y, each, plan, plan.points.walk)
            for x, y, each in zip(forward.x, forward.y, v, strict=True)
        ]
