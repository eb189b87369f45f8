"""The diagnosis of a wrong gradient: NaN, Inf, or layers that the gradient does not reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction

from gradviz.backward.graph import SELECTS, kind_of, nodes_of
from gradviz.backward.layer_outputs import ActivationRecorder
from gradviz.backward.layers import gradients_at, run_with_layers
from gradviz.field.dependence.trace import DependenceTrace, detached_layers
from gradviz.field.sites import notes_on, site_of
from gradviz.image.load import LoadedImage
from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model, deterministic
from gradviz.runs.schema import CheckTest
from gradviz.seeds.seed import Seed, default_seed
from gradviz.text import listed

MOST_IN_CAUSE = 5
"""The most layers that a cause names; the others are counted."""


def causes_of(
    model: Model, image: LoadedImage, seeds: Sequence[Seed], tests: Sequence[CheckTest]
) -> dict[str, str]:
    """Find the causes of failed tests, by the spec of their seed.

    Args:
        model: the model.
        image: the image of the tests.
        seeds: the seeds of the tests; empty for the default of the output.
        tests: all tests of the model at the image.

    Returns:
        one phrase for each seed of a failed test.
    """
    failed = {test.seed for test in tests if test.ok is False}
    if not failed:
        return {}
    x = model.batch_of(image.prepared.tensor)
    with deterministic():
        output = model(x).detach()[0]
    every = seeds or (default_seed(output, model.detects),)
    causes = {}
    for seed in (each for each in every if each.spec in failed):
        site = site_of(model, image.prepared, seed)
        causes[seed.spec] = cause_of(model, x, seed.for_image(image.name).cotangent(output, site))
    return causes


def place_notes(model: Model, image: LoadedImage, seeds: Sequence[Seed]) -> list[str]:
    """List the warnings about the places that seeds name, each once."""
    notes = (notes_on(seed, site_of(model, image.prepared, seed)) for seed in seeds)
    return list(dict.fromkeys(note for each in notes for note in each))


def unseen_parts(model: Model, image: LoadedImage) -> list[str]:
    """The operations whose derivative may be another than the model's, however small the steps.

    Values that were detached from the image and are added to it again, as by a straight-through
    estimator, and backward passes of the model's own. Over the long steps of a low precision they
    may pass for right.
    """
    x = model.batch_of(image.prepared.tensor)
    with deterministic(), DependenceTrace():
        nodes: list[Any] = list(nodes_of(model(x)))
    return sorted(
        {
            kind_of(node).removesuffix("Backward")
            for node in nodes
            if isinstance(node, BackwardCFunction)
            or (kind_of(node) in ("Add", "Sub") and SELECTS in node.metadata)
        }
    )


def cause_of(model: Model, x: Tensor, v: Tensor) -> str:
    """Find the cause of failed tests by one more pass of the model.

    Args:
        model: the model.
        x: [1, C, H, W], the input.
        v: the cotangent, of the shape of one image's output.

    Returns:
        one phrase; advice if no cause is found.
    """
    recorder = ActivationRecorder(model.module)
    x = x.detach().clone().requires_grad_()
    with deterministic(), DependenceTrace() as trace:
        y, layers = run_with_layers(model.module, model, x, recorder)
    if not (y.detach()[0][v != 0]).isfinite().all():
        first = next(_not_finite({n: layer.activation for n, layer in layers.items()}), None)
        begins = "" if first is None else f": it begins at the layer {first}"
        return f"the output is NaN or Inf where it is seeded{begins}"
    with foreign_code(f"{model.name}: the backward pass failed"):
        gradients = gradients_at(y, list(layers.values()), v[None])
    broken = list(_not_finite(gradients))
    if broken:
        return f"the gradient is NaN or Inf from the layer {broken[-1]} back to the image"
    unreached = [
        *_unreached(layers, gradients),
        *(name for name, _ in detached_layers(recorder, layers, trace)),
    ]
    if unreached:
        return f"no gradient reaches {listed(unreached, MOST_IN_CAUSE)}"
    return "look for custom backward passes, detach() and no_grad() in the model"


def _not_finite(values: Mapping[str, Tensor | None]) -> Iterator[str]:
    """Yield the layers with a value that is NaN or Inf, in execution order."""
    return (
        name
        for name, value in values.items()
        if value is not None and not isfinite(float(value.detach().double().sum()))
    )


def _unreached(layers: Iterable[str], gradients: Mapping[str, Tensor | None]) -> Iterator[str]:
    for name in layers:
        gradient = gradients[name]
        if gradient is None or not gradient.any():
            yield name
