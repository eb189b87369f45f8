"""An optimised model: the same function in fewer and faster operations.

Batch norm is folded into the convolution before it, and maps lie channels last in memory. That
changes rounding, and near a kink the side on which a unit lies: `--no-optimize` runs a model as it
was loaded.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gradviz.errors import GradvizError, ModelError
from gradviz.image.preprocess import Preprocess
from gradviz.model.foreign import is_memory_short, same_surroundings
from gradviz.model.formats.script import folded_script
from gradviz.model.model import Model, deterministic, in_doubles
from gradviz.model.outputs import difference
from gradviz.model.random_input import RandomInput, likely_sizes
from gradviz.model.support import Capability, support

BATCH_NORMS: dict[type, type] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
"""The batch norm that is folded into each convolution. Subclasses may compute anything else."""


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""The attributes in which modules keep functions that run beside them."""

TRIAL_SIDE = 1024
"""The longest side, in pixels, of the input that the faster form is tried on."""

DOUBLES_SIDE = 128
"""The longest side, in pixels, of the input that is tried in float64, which takes three times the
time of float32."""

CLOSE = {torch.float64: 1e-6, torch.float32: 1e-2}
"""The largest distance of the gradients of the two forms, relative to their norm. In float32,
rounding moves units across kinks; half precision is tried in float64, as are all models that can be
converted."""

ROUGHLY = 0.25
"""The same for the whole of a large input, of which a part is held to `CLOSE` in float64. Rounding
alone moves the gradient of a VGG-16 by 0.05."""


def optimised_for(model: Model, recipe: Preprocess) -> Model:
    """Choose the faster form of a model if it is proven equal.

    It is tried on random input, so the choice depends on the model and the recipe alone, and is the
    same in every process of a run.

    Args:
        model: the model, of any format.
        recipe: the preprocessing of its images.

    Returns:
        the faster form, or the model itself if there is none or it differs.
    """
    if not support(model.format, Capability.FAST).supported:
        return model
    random = RandomInput.of(model, recipe)
    with suppress(GradvizError):  # a recipe that fits no photo
        for width, height in likely_sizes(model, recipe):
            # An input that the model cannot take proves nothing.
            with suppress(GradvizError):
                x = random.draw((min(width, TRIAL_SIDE), min(height, TRIAL_SIDE))).tensor
                return optimised(model, model.batch_of(x).detach())
    return model


def optimised(model: Model, x: Tensor) -> Model:
    """Make a faster model that computes the same up to rounding; the given one stays as it is.

    Python can do anything between two layers, and TorchScript's own optimiser drops operations that
    a gradient needs, so the faster form is tried first. If its output or its gradient differs, the
    given model is returned.

    Args:
        model: the model, of any format.
        x: [1, C, H, W], an input.

    Raises:
        ModelError: the model does not run on `x`, so that nothing is proven.
    """
    if not support(model.format, Capability.FAST).supported:
        return model
    y = _answer(model, x)
    try:
        module = _Either(_faster(model), model.module)
        faster = replace(model, module=module, optimised=True)
        if difference(y, _answer(faster, x)) is not None or not _same_gradient(model, x):
            return model
    except Exception:  # the model's own code runs in here, and nothing depends on it
        return model
    return faster


def _answer(model: Model, x: Tensor) -> Tensor:
    """Run the model, with the same random numbers each time."""
    with deterministic():
        return model(x)


def _same_gradient(model: Model, x: Tensor) -> bool:
    """Return True if the faster form has the gradient of the model, for one random cotangent.

    Computed in float64 if the format allows it, where rounding cannot hide a difference: on a part
    of a large input, and on the whole in the model's own number type.
    """
    with torch.no_grad():  # TorchScript copies by operations that autograd would record
        exact = in_doubles(replace(model, module=copy.deepcopy(model.module)))
    part = x[..., :DOUBLES_SIDE, :DOUBLES_SIDE]
    # A choice by size is made on the whole. Half precision rounds too much to be compared.
    if part.shape != x.shape and model.dtype in CLOSE and not _gradients_agree(model, x, ROUGHLY):
        return False
    for each, size in ((exact, part), (exact, x), (model, x)):
        # It takes no input of this size, or its own number type is written into its code.
        with suppress(ModelError):
            return _gradients_agree(each, size, CLOSE.get(each.dtype, CLOSE[torch.float32]))
    return False


def _gradients_agree(model: Model, x: Tensor, tolerance: float) -> bool:
    """Return True if a model and its faster form have the same gradient at x, within a tolerance.

    Raises:
        ModelError: the model does not run on `x`.
    """
    expected = _gradient(model, x)
    got = _gradient(replace(model, module=_faster(model)), x)
    return bool((got - expected).norm() <= tolerance * expected.norm())


def _gradient(model: Model, x: Tensor) -> Tensor:
    """Compute the gradient at x for a random cotangent, the same each time."""
    with deterministic():
        x = x.detach().to(model.dtype, copy=True).requires_grad_()
        y = model(x)
        torch.manual_seed(0)  # whatever the model has drawn
        # Not randn_like, which follows the strides of y: they differ between the forms.
        v = torch.randn(y.shape, device=y.device, dtype=y.dtype)
        return torch.autograd.grad(y, x, v)[0]


def _faster(model: Model) -> nn.Module:
    """Copy a model's module in its faster form."""
    with torch.no_grad():
        module = copy.deepcopy(model.module)
        # On a GPU, the units for half-precision numbers are faster with channels last.
        if model.device.type == "cpu" or model.dtype.itemsize < 4:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if isinstance(module, torch.jit.ScriptModule):
            return folded_script(module)
        _fold(module)
    return module


class _Either(nn.Module):
    """A module in its faster form; as it was loaded for inputs on which the faster form fails.

    Failures are not cached, so that results do not depend on earlier inputs.
    """

    def __init__(self, faster: nn.Module, module: nn.Module) -> None:
        super().__init__()
        self.faster = faster
        self.module = module

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        try:
            return self.faster(*inputs, **named)
        except Exception as error:  # the module as it was loaded raises it again
            if is_memory_short(error):
                raise
        return self.module(*inputs, **named)


def _fold(module: nn.Module) -> None:
    """Fold an eager module's batch norms in place, which also changes the layer's other names."""
    for conv, bn in list(_pairs(module)):
        # In double precision, so that every weight is rounded once.
        fused = fuse_conv_bn_eval(copy.deepcopy(conv).double(), copy.deepcopy(bn).double())
        dtype = conv.weight.dtype
        conv.weight = nn.Parameter(fused.weight.to(dtype), requires_grad=False)
        conv.bias = nn.Parameter(fused.bias.to(dtype), requires_grad=False)
        bn.__class__ = nn.Identity


def _pairs(module: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Yield the convolutions whose output goes to a batch norm alone, with that batch norm."""
    try:
        # The graph holds the order of layers. Tracing runs the model's Python, on its own copy.
        with same_surroundings():
            nodes = fx.Tracer().trace(copy.deepcopy(module)).nodes
    except Exception:  # a model that decides by its input's values is left as it is
        return
    read = [str(node.target) for node in nodes if node.op == "get_attr"]
    called = {node: node.target for node in nodes if node.op == "call_module"}
    calls = Counter(module.get_submodule(name) for name in called.values())
    for node, norm in called.items():
        before: Any = node.args[0] if node.args else None
        if before not in called or len(before.users) != 1:
            continue
        conv, bn = (module.get_submodule(name) for name in (called[before], norm))
        if (
            type(bn) is BATCH_NORMS.get(type(conv))
            and calls[conv] == calls[bn] == 1
            and not any(getattr(each, hooks) for each in (conv, bn) for hooks in HOOKS)
            and not any(name.startswith(f"{called[before]}.") for name in read)
            and bn.running_mean is not None
            and not (conv.training or bn.training)
        ):
            yield conv, bn
