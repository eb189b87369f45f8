"""What layers put out, though the model writes into their memory later."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradviz.backward.graph import kind_of_operator

WEIGHTS = {
    "Convolution": ("_saved_weight", "conv"),
    "Addmm": ("_saved_mat2", "linear"),
    "Mm": ("_saved_mat2", "linear"),
    "Bmm": ("_saved_mat2", "linear"),
    "NativeBatchNorm": ("_saved_weight", "norm"),
    "NativeLayerNorm": ("_saved_weight", "norm"),
    "NativeGroupNorm": ("_saved_weight", "norm"),
    "PreluKernel": ("_saved_weight", "prelu"),
}
"""Operations with a weight: where autograd keeps it, and what a nameless one is called."""

WEIGHT_ARGUMENTS = frozenset({"weight", "mat2"})
"""What the operators behind `WEIGHTS` call their weight."""


def owners_of(module: nn.Module) -> dict[int, str]:
    """The layers' names by where the memory of their parameters begins."""
    return {
        memory_of(parameter): name.rpartition(".")[0] or name
        for name, parameter in module.named_parameters()
    }


def memory_of(tensor: Tensor) -> int:
    """Where the tensor's memory begins; tensors with the same one share it."""
    return tensor.untyped_storage().data_ptr()


class Keeper(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches a forward pass from below autograd and holds on to what layers put out.

    Nothing is copied before an operation is about to write into what is held, as an in-place ReLU
    does to the convolution before it.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[Hashable, Tensor] = {}
        """What is held: by the numbers of its node and of its output there; what was computed
        without a gradient, by the name of its layer."""
        self.ran: dict[str, Hashable] = {}
        """The layers that ran, with a gradient or without, and under what their last output is
        held, if it is."""
        self._owners = owners_of(module)

    def keep(self, key: Hashable, tensor: Tensor) -> None:
        """Hold on to what the tensor holds now."""
        if tensor.layout == torch.strided:
            self.kept[key] = tensor.detach()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        arguments = func._schema.arguments
        given = {each.name: value for each, value in zip(arguments, args, strict=False)} | kwargs
        written = [each.name for each in arguments if each.alias_info and each.alias_info.is_write]
        if written:
            self._copy({memory_of(each) for each in _tensors([given.get(n) for n in written])})
        result = func(*args, **kwargs)
        if kind_of_operator(func._schema.name) in WEIGHTS:
            self._see(given, _tensors(result)[0])
        return result

    def _see(self, given: dict[str, Any], output: Tensor) -> None:
        weights = _tensors([given.get(name) for name in WEIGHT_ARGUMENTS])
        name = self._owners.get(memory_of(weights[0])) if weights else None
        key: Hashable = name
        if torch.is_grad_enabled() and any(each.requires_grad for each in _tensors(given)):
            # Autograd has made the operation's node already: it has the last number given out.
            key = torch.autograd._get_sequence_nr() - 1, 0  # type: ignore[attr-defined]
        if key is not None:
            self.keep(key, output)
        if name is not None:
            self.ran[name] = key

    def _copy(self, written: Collection[int]) -> None:
        for key, tensor in self.kept.items():
            if memory_of(tensor) in written:
                self.kept[key] = tensor.clone()


def _tensors(tree: Any) -> list[Tensor]:
    return [
        leaf
        for leaf in tree_leaves(tree)
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided
    ]
