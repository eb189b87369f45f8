"""Watching operators from below autograd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

EXPORTS = frozenset(
    [
        *("tolist", "numpy", "__array__", "__dlpack__", "__repr__", "__deepcopy__"),
        *("data_ptr", "const_data_ptr", "untyped_storage", "storage"),
    ]
)
"""Methods that hand a tensor's values out of torch. Pickling reads the storage."""


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that does not make torch import its compiler, which takes a second.

    torch wraps a mode so that its compiler skips it, and imports the compiler for that. Nothing
    here is compiled.

    Args:
        exports: a mode that is on for as long, to see how values leave torch without an operator.
    """

    def __init__(self, exports: TorchFunctionMode | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._exports = exports or nullcontext()

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        self._exports.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._exports.__exit__(*exception)
        super().__exit__(*exception)  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def arguments(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Map the names of an operator's arguments to their values in a call, defaults included."""
    given = {}
    for place, argument in enumerate(func._schema.arguments):
        if place < len(args):
            given[argument.name] = args[place]
        else:
            given[argument.name] = kwargs.get(argument.name, argument.default_value)
    return given


def written(func: Any, given: dict[str, Any]) -> list[Any]:
    """List the arguments that an operator writes into, of those that `arguments` returned."""
    return [
        given[each.name]
        for each in func._schema.arguments
        if each.alias_info is not None and each.alias_info.is_write
    ]


def storage_of(tensor: Tensor) -> torch.UntypedStorage:
    """Return the tensor's memory, unnoticed by modes that notice what a model does."""
    with torch._C.DisableTorchFunction():
        return tensor.untyped_storage()


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors among the arguments of an operator, or among its results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))
