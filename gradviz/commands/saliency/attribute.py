"""What a method makes of backward passes: at the images themselves, or at points around each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from gradviz.arrays import Floats
from gradviz.backward.activation_rules import Gated, gating
from gradviz.backward.integrated_gradients import IntegratedGradients, rounding
from gradviz.backward.layers import Layer
from gradviz.backward.methods import Pass, Read
from gradviz.backward.sampling import WalkOf
from gradviz.backward.vjp import inner, vjp
from gradviz.commands.saliency.plan import Plan
from gradviz.errors import ModelError
from gradviz.model.model import Model

GAP = 0.05
"""The completeness gap, as a share of the output's change, above which a result is warned of."""


@dataclass(frozen=True)
class Forward:
    """One forward pass, from which gradients are then read."""

    x: Tensor
    """[N, C, H, W]; requires a gradient where the gradient is taken at the images themselves."""
    y: Tensor
    """[N, ...]."""
    layer: Layer | None = None
    """The layer to read, if there is one, with its activation."""


@dataclass(frozen=True)
class Found:
    """What a method found for one image and one seed."""

    array: Floats
    """Its array, float32, of the shape of the input or of the layer's output."""
    beside: Mapping[str, Floats] = field(default_factory=dict)
    """Of a layer that the user named: `activation` and `gradient`."""
    gated: int | None = None
    """How many activations the rule held at, where there was one."""
    samples: int | None = None
    """At how many points, where they are not the image itself."""
    completeness: float | None = None
    """⟨v, f(x) − f(baseline)⟩ − Σ array, where there is a baseline."""
    notes: tuple[str, ...] = ()
    """What a reader of the result must know."""


def at_images(forward: Forward, v: Tensor, plan: Plan, keep: bool) -> list[Found]:
    """The method at the images themselves, all in the same passes.

    Args:
        v: [N, ...], the cotangents.
        keep: whether the forward pass is needed again.

    Raises:
        ModelError: no path leads back, or the rule finds nothing to hold at.
    """
    passes = plan.method.passes_at(plan.layer)
    reads, gates = [], []
    for left, each in zip(range(len(passes) - 1, -1, -1), passes, strict=True):
        read, gated = _read(forward, v, each, keep or left > 0)
        reads.append(read)
        gates += [gated] if gated else []
    arrays = {plan.method.writes: plan.method.finish(*reads)}
    if plan.layer is not None:
        # The pass at the layer comes last where there are several.
        arrays = {"activation": reads[-1].value, "gradient": reads[-1].gradient, **arrays}
    found = {name: _numbers(array) for name, array in arrays.items()}
    main = found.pop(plan.method.writes)
    notes = tuple(note for gated in gates for note in gated.notes)
    if forward.layer is not None and main[0].ndim != 3:
        notes += (
            f"the layer {forward.layer.name} has no spatial extent: its picture has one colour",
        )
    return [
        Found(
            main[n],
            {name: array[n] for name, array in found.items()},
            gated=sum(gated.activations for gated in gates) if gates else None,
            notes=notes,
        )
        for n in range(len(main))
    ]


def _read(forward: Forward, v: Tensor, each: Pass, keep: bool) -> tuple[Read, Gated | None]:
    """One backward pass, read where it is to be read; and what its rule held at."""
    with nullcontext() if each.rule == "plain" else gating(forward.y, each.rule) as gated:
        if each.tap == "input" or forward.layer is None:
            return Read(forward.x.detach(), vjp(forward.y, forward.x, v, keep)), gated
        gradient = vjp(forward.y, forward.layer.end, v, keep)
    if forward.layer.activation is None:
        raise ModelError(f"the layer {forward.layer.name} ran where its output cannot be seen")
    # An exported program's batch is filled up with copies of the last image.
    return Read(forward.layer.activation[: len(v)], gradient[: len(v)]), gated


def at_points(model: Model, x: Tensor, y: Tensor, v: Tensor, plan: Plan, walk_of: WalkOf) -> Found:
    """The method at points around one image, in batches; other images in the run change nothing.

    Args:
        x: [C, H, W], the image.
        y: the model's output there, without the batch axis.
        v: the cotangent, fixed at the image itself: a class that ranks first there may not do so
            elsewhere, and a sum of gradients of different outputs would be the gradient of none.
        walk_of: how the points are chosen, a row of `points.POINTS`.

    Raises:
        ModelError: the model fails at one of the points.
        UsageError: the baseline does not have the image's shape.
    """
    torch.manual_seed(0)  # what draws random numbers draws the same for every image and seed
    (each,) = plan.method.passes

    def score(point: Tensor) -> float:
        return inner(v, model(point[None])[0])

    walk = walk_of(x, plan.sampling, score)
    samples = 0
    for inputs in walk.rounds():
        while some := list(islice(inputs, plan.batch_size)):
            batch = torch.stack(some).requires_grad_()
            there = model(batch)
            read, _ = _read(Forward(batch, there), v.expand_as(there), each, keep=False)
            for result in plan.method.finish(read):
                walk.take(result)
            samples += len(some)
            plan.tick(samples)
    array = walk.result()
    if not isinstance(walk, IntegratedGradients):
        return Found(_numbers(array), samples=samples, notes=tuple(_unshaken(x, plan)))
    after = inner(v, y)
    change = after - walk.before
    gap = change - float(array.sum())
    notes: tuple[str, ...] = ()
    if not isfinite(gap):
        notes = (
            "the model is NaN or Inf at the baseline or on the way from it, so that completeness "
            "has no meaning: give another --baseline",
        )
    elif abs(gap) > max(GAP * abs(change), rounding(x, walk.before, after)):
        notes = (
            f"the attribution adds up to {change - gap:.4g}, not to the output's change "
            f"{change:.4g} since the baseline: give more --samples than {samples}, or "
            "another --baseline",
        )
    return Found(_numbers(array), samples=samples, completeness=gap, notes=notes)


def _unshaken(x: Tensor, plan: Plan) -> Iterator[str]:
    """Noise is relative to the range of the image."""
    if plan.sampling.noise and x.max() == x.min():
        yield (
            f"the image has one value everywhere, so that its range and the noise are 0: "
            f"{plan.method.name} sees the image itself alone"
        )


def _numbers(array: Tensor) -> Floats:
    numbers: Floats = np.ascontiguousarray(array.detach().float().cpu().numpy())
    return numbers
