"""Application of a method: backward passes at the images themselves, or at points around each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from gradviz.arrays import Floats
from gradviz.backward.integrated_gradients import IntegratedGradients
from gradviz.backward.layers import Layer
from gradviz.backward.methods import Pass, Read
from gradviz.backward.relevance.operands import OperandRecorder
from gradviz.backward.relevance.operation import Cause
from gradviz.backward.rules import BACKWARD_RULES, Pulled, Way
from gradviz.backward.vjp import inner
from gradviz.commands.saliency.result import Attribution
from gradviz.commands.saliency.settings import Settings
from gradviz.errors import ModelError
from gradviz.image.load import LoadedImage
from gradviz.model.model import Model


@dataclass(frozen=True)
class Forward:
    """One forward pass, from which gradients are then read."""

    images: Sequence[LoadedImage]
    """The N images."""
    x: Tensor
    """The batch [N, C, H, W]; requires a gradient if the gradient is taken at the images
    themselves."""
    y: Tensor
    """The output [N, ...]."""
    layer: Layer | None = None
    """The layer to read, with its activation, if there is one."""
    operands: OperandRecorder | None = None
    """The values of the pass's operations, if a rule reads them."""
    layer_reason: str | None = None
    """The reason why that layer is read if the user named none."""


def at_images(
    forward: Forward, seed: str, v: Tensor, settings: Settings, retain_graph: bool
) -> list[Attribution]:
    """Apply the method at the images themselves, to all of them in the same backward passes.

    Args:
        forward: the pass over the N images.
        seed: the spec that made the cotangents.
        v: the cotangents, [N, ...], of the output's shape.
        settings: the method, and the layer if one was named.
        retain_graph: whether the forward pass is needed again.

    Returns:
        one result for each image.

    Raises:
        ModelError: no path leads back, or the rule finds nothing to hold at.
    """
    method = settings.chosen_method
    passes = method.passes_at(settings.layer)
    reads, pulls = [], []
    for left, each in zip(range(len(passes) - 1, -1, -1), passes, strict=True):
        read, pulled = _read(forward, v, each, retain_graph or left > 0)
        reads.append(read)
        pulls.append(pulled)
    arrays = {method.writes: method.finish(*reads)}
    if settings.layer is not None:
        # If there are several passes, the one at the layer comes last.
        arrays = {"activation": reads[-1].value, "gradient": reads[-1].gradient, **arrays}
    arrays = {name: array for name, array in arrays.items() if name in settings.arrays}
    found = {name: _numbers(array) for name, array in arrays.items()}
    main = found.pop(method.writes)
    notes = tuple(note for pulled in pulls for note in pulled.notes)
    gated = [pulled.gated for pulled in pulls if pulled.gated is not None]
    if forward.layer is not None and main[0].ndim != 3:
        notes += (
            f"the layer {forward.layer.name} has no spatial extent: its picture has one colour",
        )
    y = forward.y.detach()
    absorbed, gap = _conserved(forward, inner(v, y), pulls[0])
    return [
        Attribution(
            image=image.name,
            seed=seed,
            method=method,
            array=main[n],
            output_shape=tuple(y[n].shape),
            score=inner(v[n], y[n]),
            prepared=image.prepared,
            layer=None if forward.layer is None else forward.layer.name,
            layer_reason=forward.layer_reason,
            beside={name: array[n] for name, array in found.items()},
            gated=sum(gated) if gated else None,
            absorbed=absorbed,
            conservation=gap,
            notes=notes,
        )
        for n, image in enumerate(forward.images)
    ]


def _read(forward: Forward, v: Tensor, each: Pass, retain_graph: bool) -> tuple[Read, Pulled]:
    """Run one backward pass; return its result where it is read, and all that it brought."""
    layer = forward.layer if each.read_at == "layer" else None
    end = forward.x if layer is None else layer.end
    pulled = BACKWARD_RULES[each.rule].pull(Way(forward.y, end, forward.operands), v, retain_graph)
    if layer is None:
        return Read(forward.x.detach(), pulled.gradient), pulled
    if layer.activation is None:
        raise ModelError(f"the layer {layer.name} ran in code that hides its output")
    # An exported program's batch is padded with copies of the last image.
    value, gradient = map(layer.as_maps, (layer.activation, pulled.gradient))
    return Read(value[: len(v)], gradient[: len(v)]), pulled


def _conserved(
    forward: Forward, score: float, pulled: Pulled
) -> tuple[dict[Cause, float] | None, float | None]:
    """Return what absorbed relevance, and what is missing from the score of the one image."""
    if pulled.absorbed is None or forward.layer is not None:  # some passes by the layer
        return None, None
    arrived = float(pulled.gradient.sum(dtype=torch.float64))
    return pulled.absorbed, score - arrived - sum(pulled.absorbed.values())


def at_points(
    model: Model,
    forward: Forward,
    seed: str,
    v: Tensor,
    settings: Settings,
    on_progress: Callable[[int], object],
) -> Attribution:
    """Apply the method at points around one image, in batches; no other image changes the result.

    Args:
        model: computes the output at the points.
        forward: the pass over that image alone, N = 1.
        seed: the spec that made the cotangent.
        v: the cotangent, [1, ...], fixed at the image itself: the class that ranks first there may
            not do so elsewhere, and a sum of gradients of different outputs is the gradient of
            none.
        settings: the method, its points and the batch size.
        on_progress: receives the number of points done so far.

    Returns:
        the result for the image.

    Raises:
        ModelError: the model fails at one of the points.
        UsageError: the baseline does not have the image's shape.
    """
    assert settings.points.sampler is not None
    torch.manual_seed(0)  # the same random numbers for every image and seed
    (image,), x, y, v = forward.images, forward.x[0], forward.y.detach()[0], v[0]
    method = settings.chosen_method
    (each,) = method.passes

    def score(point: Tensor) -> float:
        return inner(v, model(point[None])[0])

    sampler = settings.points.sampler(x, settings.sampling, score)
    samples = 0
    for inputs in sampler.rounds():
        while some := list(islice(inputs, settings.batch_size)):
            batch = torch.stack(some).requires_grad_()
            there = model(batch)
            read, _ = _read(Forward((), batch, there), v.expand_as(there), each, False)
            for gradient in method.finish(read):
                sampler.update(gradient)
            samples += len(some)
            on_progress(samples)
    array = sampler.result()
    if isinstance(sampler, IntegratedGradients):
        gap, notes = sampler.completeness(float(array.sum()), inner(v, y))
    else:
        gap, notes = None, tuple(_unshaken(x, settings))
    return Attribution(
        image=image.name,
        seed=seed,
        method=method,
        array=_numbers(array),
        output_shape=tuple(y.shape),
        score=inner(v, y),
        prepared=image.prepared,
        samples=samples,
        completeness=gap,
        notes=notes,
    )


def _unshaken(x: Tensor, settings: Settings) -> Iterator[str]:
    """Warn if the noise is zero, since it is relative to the range of the image."""
    if settings.sampling.noise and x.max() == x.min():
        yield (
            f"the image has one value everywhere, so that its range and the noise are 0: "
            f"{settings.method} uses the image itself only"
        )


def _numbers(array: Tensor) -> Floats:
    numbers: Floats = np.ascontiguousarray(array.detach().float().cpu().numpy())
    return numbers
