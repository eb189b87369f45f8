"""TorchScript: scripted, traced and frozen modules."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.jit import optimized_execution  # type: ignore[attr-defined]

from gradviz.errors import ModelError
from gradviz.model.foreign import foreign_code
from gradviz.model.support import Format


def as_written() -> AbstractContextManager[None]:
    """Make TorchScript run the operations as they were written, for the block.

    Its optimising executor changes the numbers from the first call to the third, and rewrites the
    operations of the backward pass. It must be off when a module is loaded and in every call.
    """
    context: AbstractContextManager[None] = optimized_execution(False)
    return context


def load_script(path: Path, device: torch.device) -> nn.Module:
    """Load the module that torch.jit.save wrote.

    Args:
        path: the file.
        device: the device of its weights.

    Raises:
        ModelError: the file is damaged, or its module cannot be called.
    """
    with (
        foreign_code(f"{path}: cannot be loaded as TorchScript, perhaps it is damaged"),
        as_written(),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        module: Any = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
    if not module._c._has_method("forward"):
        raise ModelError(
            f"{path}: its TorchScript module has no forward(): save the network itself"
        )
    loaded: nn.Module = module
    return loaded


def script_format(module: nn.Module) -> Format:
    """Return `FROZEN` if the module's weights are constants of its code, else `SCRIPT`."""
    if next(module.parameters(), None) is not None:
        return Format.SCRIPT
    # The graph must outlive its nodes, so it has a name.
    graph: Any = module.inlined_graph
    constants = graph.findAllNodes("prim::Constant")
    tensors = any(node.output().type().kind() == "TensorType" for node in constants)
    return Format.FROZEN if tensors else Format.SCRIPT


STOPS = ("aten::detach", "aten::detach_", "prim::Enter")
"""The operations that stop a gradient; a block of `no_grad` begins with the last one."""


def _stops_gradients(module: Any) -> bool:
    graph = module.inlined_graph  # must outlive its nodes, so it has a name
    return any(graph.findAllNodes(name) for name in STOPS)


def folded_script(module: nn.Module) -> nn.Module:
    """Freeze a TorchScript module, which folds its batch norms into its convolutions.

    A module that is frozen already or cannot be frozen is returned as it is. So is one that stops a
    gradient: freezing removes calls of `detach`, and takes what is computed under `no_grad` for the
    same as what is computed outside. No trial would show it of a branch that it does not take.
    """
    if script_format(module) is Format.FROZEN or _stops_gradients(module):
        return module
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.freeze` is deprecated", DeprecationWarning)
        try:
            # By the optimising executor: the other one does not inline calls of methods.
            frozen: nn.Module = torch.jit.freeze(module)
        except RuntimeError:
            return module
    return frozen
