"""An optimised model: the same function in fewer and faster operations.

Batch norm is folded into the convolution before it, and maps lie channels last in memory. Rounding
differs by that, and near a kink the side on which a unit lies: `--no-optimize` runs a model as it
was loaded.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gradviz.model.foreign import is_memory_short, same_surroundings
from gradviz.model.model import Model, deterministic
from gradviz.model.outputs import difference
from gradviz.model.script import folded_script
from gradviz.model.support import Capability, support

BATCH_NORMS: dict[type, type] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
"""The batch norm that each convolution takes in. Their subclasses may do anything else."""


def optimised(model: Model, x: Tensor) -> Model:
    """Make a faster model that computes the same up to rounding; the given one stays as it is.

    Python can do anything between two layers, so the faster form is tried first. If its output
    differs from the given model's, the given model is returned.

    Args:
        x: [1, C, H, W], an input.

    Raises:
        ModelError: the model does not run on `x`.
    """
    if not support(model.format, Capability.FAST).supported:
        return model
    y = _answer(model, x)
    try:
        faster = replace(model, module=_Either(_faster(model), model.module))
        again = _answer(faster, x)
    except Exception:  # the model's own code runs in here, and nothing depends on it
        return model
    return model if difference(y, again) else faster


def _answer(model: Model, x: Tensor) -> Tensor:
    """Run the model, with the same random numbers each time."""
    with deterministic():
        return model(x)


def _faster(model: Model) -> nn.Module:
    with torch.no_grad():
        module = copy.deepcopy(model.module)
        # On a GPU it is the units for half-precision numbers that want channels last.
        if model.device.type == "cpu" or model.dtype.itemsize < 4:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if isinstance(module, torch.jit.ScriptModule):
            return folded_script(module)
        _fold(module)
    return module


class _Either(nn.Module):
    """A module in its faster form; as it was loaded for inputs on which that fails.

    Failures are not cached, so that results do not depend on earlier inputs.
    """

    def __init__(self, faster: nn.Module, module: nn.Module) -> None:
        super().__init__()
        self.faster = faster
        self.module = module

    def forward(self, x: Tensor) -> Any:
        try:
            return self.faster(x)
        except Exception as error:  # the module as it was loaded raises it again
            if is_memory_short(error):
                raise
        return self.module(x)


def _fold(module: nn.Module) -> None:
    """Fold an eager module's batch norms, in place: other names of a layer see it too."""
    for conv, bn in list(_pairs(module)):
        # In double precision, so that every weight is rounded once.
        fused = fuse_conv_bn_eval(copy.deepcopy(conv).double(), copy.deepcopy(bn).double())
        dtype = conv.weight.dtype
        conv.weight = nn.Parameter(fused.weight.to(dtype), requires_grad=False)
        conv.bias = nn.Parameter(fused.bias.to(dtype), requires_grad=False)
        bn.__class__ = nn.Identity


def _pairs(module: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Convolutions, and the batch norms that alone see what they put out."""
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
            and not any(each._forward_hooks or each._forward_pre_hooks for each in (conv, bn))
            and not any(name.startswith(f"{called[before]}.") for name in read)
            and bn.running_mean is not None
            and not (conv.training or bn.training)
        ):
            yield conv, bn
