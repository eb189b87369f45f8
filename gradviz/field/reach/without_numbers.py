"""A forward pass without numbers: tensors of shapes alone, at any size for nothing.

torch has a device for that, `meta`. The model stays as it is: only what it computes from the image
has no numbers, while its weights, and what it computes from them alone, keep theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradviz.errors import ModelError
from gradviz.field.reach.arguments import META
from gradviz.field.reach.shapes import SHAPES, made_without_torch
from gradviz.model.model import Model
from gradviz.watch import EXPORTS, Watch, arguments, tensors_in, written


class NeedsNumbers(RuntimeError):
    """An operation needs the numbers that a tensor on the meta device does not have."""


class WithoutNumbers(Watch):  # type: ignore[no-untyped-call]
    """Lets a model that lies on another device run on the meta device.

    An operation on a tensor without numbers takes the shapes of its other tensors, and leaves its
    result without numbers as well, whatever device the model names.
    """

    def __init__(self) -> None:
        super().__init__(_NoExports())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not any(tensor.is_meta for tensor in tensors_in((args, kwargs))):
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            targets = written(func, arguments(func, args, kwargs))
            if any(not tensor.is_meta for tensor in tensors_in(targets)):
                raise NeedsNumbers(f"{func} writes what has no numbers where there are some")
            if func._schema.name.partition("::")[2].rstrip("_") in SHAPES:
                return args[0]
        else:
            made = made_without_torch(
                func._schema.name.partition("::")[2], arguments(func, args, kwargs)
            )
            if made is not None:
                return made[0] if len(func._schema.returns) == 1 else tuple(made)
        if kwargs.get("device") is not None:
            kwargs = {**kwargs, "device": META}
        return func(*_emptied(args), **{name: _emptied(value) for name, value in kwargs.items()})


class _NoExports(TorchFunctionMode):
    """Refuses to hand out numbers that are not there: reading their address, 0, is a crash."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in EXPORTS and args[0].is_meta:
            raise NeedsNumbers(f"{name} reads numbers")
        return func(*args, **(kwargs or {}))


def without_numbers(model: Model) -> Model:
    """The model for inputs on the meta device; it runs under `WithoutNumbers`.

    Raises:
        ModelError: it reads numbers in a way that would end the process.
    """
    if unseen := reads_unseen(model.module):
        raise ModelError(f"{model.name}: reads numbers from memory ({', '.join(unseen)})")
    return replace(model, device=META)


def reads_unseen(module: nn.Module) -> list[str]:
    """List the operations of TorchScript that read memory without an operator."""
    if not isinstance(module, torch.jit.ScriptModule):
        return []
    graph: Any = module.inlined_graph
    return ["tolist"] if graph.findAllNodes("prim::tolist") else []


def _emptied(value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.is_meta:
            return value
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=META)
    if isinstance(value, tuple | list):
        return type(value)(_emptied(each) for each in value)
    return value
