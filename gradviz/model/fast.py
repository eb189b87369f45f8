"""The same function in fewer and faster operations.

Batch norm is folded into the convolution before it, and maps lie channels last in memory. Rounding
differs by that, and near a kink the side on which a unit lies: `--no-optimize` runs a model as it
was loaded.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model
from gradviz.model.script import folded_script
from gradviz.support import Capability, support

BATCH_NORMS: dict[type, type] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
"""The batch norm that each convolution takes in. Their subclasses may do anything else."""


def fast(model: Model) -> Model:
    """A faster model that computes the same up to rounding; the given one stays as it is.

    Where the faster form fails, as with a model that looks into how its tensors lie in memory, the
    given one does the work.
    """
    if not support(model.format, Capability.FAST).supported:
        return model
    with torch.no_grad(), foreign_code(f"{model.name}: cannot be copied; use --no-optimize"):
        module = copy.deepcopy(model.module)
    # On a GPU it is the units for half-precision numbers that want channels last.
    if model.device.type == "cpu" or model.dtype.itemsize < 4:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    folded = folded_script if isinstance(module, torch.jit.ScriptModule) else _folded
    return replace(model, module=_Either(folded(module), model.module))


class _Either(nn.Module):
    """A module in its faster form, until that fails."""

    def __init__(self, faster: nn.Module, module: nn.Module) -> None:
        super().__init__()
        self.faster: nn.Module | None = faster
        self.module = module

    def forward(self, x: torch.Tensor) -> Any:
        if self.faster is not None:
            try:
                return self.faster(x)
            except torch.OutOfMemoryError:
                raise
            except Exception:  # whatever it is, the module as it was loaded will say it again
                self.faster = None
        return self.module(x)


def _folded(module: nn.Module) -> nn.Module:
    """An eager module whose batch norms are folded in, in place."""
    for convolution, norm in list(_pairs(module)):
        # In double precision, so that every weight is rounded once.
        conv, bn = (
            cast(Any, copy.deepcopy(module.get_submodule(name)).double())
            for name in (convolution, norm)
        )
        dtype = next(module.get_submodule(convolution).parameters()).dtype
        module.set_submodule(convolution, fuse_conv_bn_eval(conv, bn).to(dtype))
        module.set_submodule(norm, nn.Identity())
    return module


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """The names of convolutions, and of the batch norms that alone see what they put out."""
    try:
        # The graph tells who feeds whom. It is not run: Python that it does not hold stays.
        nodes = fx.Tracer().trace(module).nodes
    except Exception:  # a model that decides by its input's values is left as it is
        return
    called = {node: module.get_submodule(node.target) for node in nodes if node.op == "call_module"}
    calls = Counter(called.values())
    for node, bn in called.items():
        before: Any = node.args[0] if node.args else None
        conv = called.get(before)
        if (
            conv is not None
            and type(bn) is BATCH_NORMS.get(type(conv))
            and len(before.users) == calls[conv] == calls[bn] == 1
            and not any(each._forward_hooks or each._forward_pre_hooks for each in (conv, bn))
            and bn.running_mean is not None
        ):
            yield before.target, node.target
