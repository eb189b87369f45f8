"""The support matrix, cell by cell, against what the formats really do."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradviz import saliency
from gradviz.backward.graph import kind_of, nodes_of
from gradviz.backward.jvp import find_way
from gradviz.commands.inspect.inspection import inspect_model
from gradviz.errors import ModelError, TrustError, UsageError
from gradviz.field.probe import Probe
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.model.fast import optimised
from gradviz.model.load import load_model
from gradviz.model.model import Model
from gradviz.model.support import Capability, Format, as_markdown, refuse, support
from tests.helpers.small_nets import ARCH

Load = Any

KIND = {
    Format.STATE_DICT: "checkpoint.pt",
    Format.PICKLED: "pickled.pt",
    Format.SCRIPT: "traced.ts",
    Format.FROZEN: "frozen.ts",
    Format.EXPORTED: "static.pt2",
}


def loads_without_trust(path: Path) -> bool:
    try:
        load_model(path, arch=ARCH if path.name == "checkpoint.pt" else None)
    except TrustError:
        return False
    return True


def runs(module: Any, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> bool:
    """Whether the bare module, without gradviz's own checks, computes a gradient in `dtype`."""
    x = torch.rand(shape, dtype=dtype, requires_grad=True)
    try:
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            y: Tensor = module.to(dtype)(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
    except (RuntimeError, AssertionError):
        return False
    return y.dtype == gradient.dtype == dtype and len(y) == shape[0] and bool(gradient.any())


def seeds_share_a_pass(module: Any, net: nn.Module) -> bool:
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    y = module(x)
    for k in range(3):
        (shared,) = torch.autograd.grad(y[:, k].sum(), x, retain_graph=True)
        (alone,) = torch.autograd.grad(net(x)[:, k].sum(), x)
        if not torch.allclose(shared, alone, rtol=1e-5, atol=1e-7):
            return False
    return True


def layers_of(model: Model) -> set[str]:
    return set(Probe(model, torch.rand(3, 8, 8)).layers)


def runs_without_batch_norm(model: Model) -> bool:
    x = torch.rand(2, 3, 8, 8)
    y = optimised(model, x)(x.requires_grad_())
    return not any(kind_of(node) == "NativeBatchNorm" for node in nodes_of(y))


def field_of_the_first_layer(model: Model) -> tuple[int, int] | None:
    """Its size; the first convolution is what has the widest map."""
    probe = Probe(model, torch.rand(3, 8, 8))
    first = next(iter(probe.layers.values()))
    box = probe.structural(4, 4, probe.target_of(first.name)).box
    return box and (box[2] - box[0], box[3] - box[1])


def activation_of_the_last_layer(model: Model) -> float | None:
    """Its norm at an image of ones; the last layer gives the output."""
    ones = Picture(np.ones((3, 8, 8), np.float32), "array")
    image = LoadedImage("ones", prepare(ones, Preprocess()))
    return inspect_model(model, Preprocess(), image).layers[-1].activation


class Guided(torch.autograd.Function):
    """ReLU with the guided rule written into its own backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        cut: Tensor = gradient.clamp(min=0) * (x > 0)
        return cut


def is_guided(model: Model, net: Any) -> bool:
    image = torch.rand(3, 8, 8)
    x = image[None].clone().requires_grad_()
    a: Tensor = Guided.apply(net.norm(net.first(x)))  # type: ignore[no-untyped-call]
    a = a + Guided.apply(net.second(a))  # type: ignore[no-untyped-call]
    y = net.head(nn.functional.max_pool2d(a, 2).mean((2, 3)))
    (expected,) = torch.autograd.grad(y[:, 1].sum(), x)
    (found,) = saliency(model, image, "class:1", method="guided")
    return found.gated == 2 and np.allclose(found.array, expected[0], rtol=1e-5, atol=1e-7)


def reacts(model: Model, net: nn.Module) -> bool:
    """Whether J u is the slope of the outputs, by differences in float64."""
    x, u = torch.rand(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    if model.batch is not None:
        x, u = x[: model.batch], u[: model.batch]
    exact, step = copy.deepcopy(net).double(), 1e-6
    with torch.no_grad():
        ends = [exact(x.double() + sign * step * u.double()) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    return torch.allclose(find_way(model, x)(model, x, u).double(), expected, 1e-4, 1e-5)


def hands_relevance_back(model: Model, net: Any) -> bool:
    """Whether lrp finds what input times gradient finds in a network that is rewritten for it: its
    divisors are constants, and its first layer spreads what arrives evenly."""
    image = torch.rand(3, 8, 8)
    first = torch.relu(net.norm(net.first(image[None]))).detach().requires_grad_()
    z = nn.functional.conv2d(
        first, net.second.weight.clamp(min=0), net.second.bias.clamp(min=0), padding=1
    )
    second = net.second(first).relu().detach() / z.detach().clamp(min=1e-9) * z
    y = net.head(nn.functional.max_pool2d(first + second, 2).mean((2, 3)))
    (gradient,) = torch.autograd.grad(y[0, 1], first)
    ones = torch.ones(1, 3, 8, 8, requires_grad=True)
    spread = nn.functional.conv2d(ones, torch.ones_like(net.first.weight), padding=1)
    (expected,) = torch.autograd.grad(spread, ones, first.detach() * gradient / spread.detach())
    (found,) = saliency(model, image, "class:1", method="lrp")
    return np.allclose(found.array, expected[0], rtol=1e-3, atol=1e-6)


def reads_the_second_convolution(model: Model, net: Any) -> bool:
    image = torch.rand(3, 8, 8)
    first = torch.relu(net.norm(net.first(image[None])))
    second = net.second(first).detach().requires_grad_()
    y = net.head(nn.functional.max_pool2d(first + second.relu(), 2).mean((2, 3)))
    (expected,) = torch.autograd.grad(y[:, 1].sum(), second)
    name = "conv_1" if model.format is Format.FROZEN else "second"
    (found,) = saliency(model, image, "class:1", layer=name)
    activation = found.beside["activation"]
    return np.allclose(activation, second.detach()[0], rtol=1e-5, atol=1e-6) and np.allclose(
        found.array, expected[0], rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("capability", Capability)
@pytest.mark.parametrize("format", Format)
def test_the_matrix_says_what_is(
    format: Format, capability: Capability, files: Path, load: Load, net: nn.Module
) -> None:
    module = load(KIND[format]).module
    shape = (2, 3, 8, 8)
    match capability:
        case Capability.WITHOUT_TRUST:
            works = loads_without_trust(files / KIND[format])
        case Capability.GRADIENT:
            works = runs(module, shape)
        case Capability.SEEDS:
            works = seeds_share_a_pass(module, net)
        case Capability.ANY_BATCH:
            works = all(runs(module, (n, 3, 8, 8)) for n in (1, 2, 5))
        case Capability.ANY_SIZE:
            works = all(runs(module, (2, 3, h, w)) for h, w in ((8, 8), (9, 12), (2, 30)))
        case Capability.FLOAT64 | Capability.BFLOAT16 | Capability.FLOAT16:
            works = runs(module, shape, getattr(torch, capability.value))
        case Capability.FAST:
            works = runs_without_batch_norm(load(KIND[format]))
        case Capability.FIELD:
            works = field_of_the_first_layer(load(KIND[format])) == (3, 3)
        case Capability.REACTION:
            works = reacts(load(KIND[format]), net)
        case Capability.RULES:
            works = is_guided(load(KIND[format]), net)
        case Capability.RELEVANCE:
            works = hands_relevance_back(load(KIND[format]), net)
        case Capability.TAPS:
            works = reads_the_second_convolution(load(KIND[format]), net)
        case Capability.LAYERS:
            works = {"first", "norm", "second", "head"} <= layers_of(load(KIND[format]))
        case Capability.BLOCKS:
            works = "block" in layers_of(load(KIND[format]))
        case Capability.ACTIVATIONS:
            works = activation_of_the_last_layer(load(KIND[format])) == pytest.approx(
                float(net(torch.ones(1, 3, 8, 8)).detach().norm()), rel=1e-5
            )
    assert support(format, capability).supported == works


def test_an_axis_that_the_export_left_open_is_open(load: Load) -> None:
    module = load("dynamic.pt2").module
    assert all(runs(module, (n, 3, 10, 14)) for n in (1, 2, 5))


def test_refuse_says_why_and_only_where_the_matrix_does() -> None:
    refuse(Format.SCRIPT, Capability.FLOAT64, "net.ts")
    with pytest.raises(UsageError, match=r"net.ts: a frozen TorchScript has no float64: .*freeze"):
        refuse(Format.FROZEN, Capability.FLOAT64, "net.ts")


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_a_precision_that_the_format_cannot_take_is_refused(load: Load, precision: str) -> None:
    with pytest.raises(UsageError, match=f"no {precision}"):
        load("frozen.ts", precision=precision)


def test_the_table_for_the_docs_has_every_cell_and_every_reason() -> None:
    lines = as_markdown().splitlines()
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines if line[0:1] == "|"}
    for format in Format:
        cells = rows[format.value].strip("| ").split(" | ")[1:]
        for cell, capability in zip(cells, Capability, strict=True):
            verdict = support(format, capability)
            if verdict.supported:
                assert cell == "yes"
            else:
                note = cell.removeprefix("no (").removesuffix(")")
                assert f"{note}. {verdict.reason}" in lines


def test_a_model_that_breaks_while_it_runs_is_no_bug_of_gradviz(load: Load) -> None:
    model = load("frozen.ts")
    with pytest.raises(ModelError):
        model(torch.rand(1, 3, 1, 1))
