"""Detached branches: values that are computed from the image, and have no gradient to it.

A detector often cuts parts of itself off, such as the suggestions of a region proposal network, so
that the gradient of a box is that of the rest alone. The values are followed through the pass from
the places where they are cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradviz.watch import Watch, arguments, storage_of, tensors_in, written

Origins = frozenset[str]
"""The names of the modules in which values were cut off."""

WHOLE = "the model itself"
"""The name of the outermost module, and of those without modules inside, as TorchScript's."""


@dataclass
class _Mark:
    """The origins of the values in one piece of memory."""

    kept: Tensor
    """A tensor there, so that no other one gets its memory."""
    behind: Origins = frozenset()
    """The origins of the detached values that they were computed from."""
    cut: Origins = frozenset()
    """The origin of the values if they were cut off: a tensor with a gradient may share them."""


class DetachWatch(Watch):  # type: ignore[no-untyped-call]
    """A watch over one forward pass that follows detached values."""

    def __init__(self) -> None:
        super().__init__()
        self._within: list[str] = []
        self._marks: dict[int, _Mark] = {}

    def origins_of(self, tensor: Tensor) -> Origins:
        """Return where the detached values were cut off that a tensor depends on."""
        mark = self._marks.get(storage_of(tensor)._cdata)
        if mark is None:
            return frozenset()
        return mark.behind if tensor.requires_grad else mark.behind | mark.cut

    @contextmanager
    def naming(self, module: nn.Module) -> Iterator[None]:
        """Name the modules inside of an eager module while the block runs."""

        def entering(name: str) -> Callable[..., None]:
            return lambda _module, _given: self._within.append(name)

        def leaving(_module: nn.Module, _given: Any, _output: Any) -> None:
            self._within.pop()

        inside = [
            (name, child)
            for name, child in module.named_modules()
            if name and not isinstance(child, torch.jit.ScriptModule)
        ]
        handles = [child.register_forward_pre_hook(entering(name)) for name, child in inside]
        handles += [child.register_forward_hook(leaving, always_call=True) for _, child in inside]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = [*tensors_in(args), *tensors_in(kwargs)]
        behind = frozenset[str]().union(*map(self.origins_of, given))
        cut = Origins()
        if any(each.requires_grad for each in given) and (
            func is torch.ops.aten.detach.default or not torch.is_grad_enabled()
        ):
            cut = Origins([self._within[-1] if self._within else WHOLE])
        if behind or cut:
            changed = [*tensors_in(result)]
            if func._schema.is_mutable:
                changed += tensors_in(written(func, arguments(func, args, kwargs)))
            for each in changed:
                if each.is_floating_point():  # which of several was chosen has no gradient anyway
                    mark = self._marks.setdefault(storage_of(each)._cdata, _Mark(each))
                    mark.behind |= behind
                    mark.cut |= cut
        return result
