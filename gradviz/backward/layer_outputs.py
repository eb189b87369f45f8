"""Records layer outputs, copying them before an in-place operation overwrites them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils._pytree import tree_leaves

from gradviz.backward.graph import kind_of, kind_of_operator
from gradviz.watch import Watch, arguments, storage_of, written

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
"""Operations with a weight: the attribute under which autograd saves it, and the name of a layer
whose weight is not a parameter."""

WEIGHT_ARGUMENTS = frozenset({"weight", "mat2"})
"""The names of the weight among the arguments of the operators behind `WEIGHTS`."""


def weight_of(node: Node) -> Tensor | None:
    """Return the weight of an operation that has one; a product of two activations has none."""
    saved, _ = WEIGHTS.get(kind_of(node), ("", ""))
    weight = getattr(node, saved, None)
    return weight if isinstance(weight, Tensor) and not weight.requires_grad else None


def owners_of(module: nn.Module) -> dict[int, str]:
    """Map the address of each parameter's memory to the name of its layer."""
    return {
        memory_of(parameter): name.rpartition(".")[0] or name
        for name, parameter in module.named_parameters()
    }


def memory_of(tensor: Tensor) -> int:
    """Return the address of the tensor's memory; tensors with the same address share it."""
    return storage_of(tensor).data_ptr()


class ActivationRecorder(Watch):  # type: ignore[no-untyped-call]
    """A recorder of layer outputs during a forward pass, below autograd.

    An output is copied only if an operation is about to write into it, as an in-place ReLU does to
    the convolution before it.

    Args:
        module: the module whose layers are recorded.
        operations: whether the outputs of all operations are recorded, and not only those of
            layers.
    """

    def __init__(self, module: nn.Module, operations: bool = False) -> None:
        super().__init__()
        self._operations = operations
        self.recorded: dict[Hashable, Tensor] = {}
        """The outputs by node and output number. An output without a gradient has the name of its
        layer as key."""
        self.ran: dict[str, Hashable] = {}
        """The layers that ran, with a gradient or without. The value is the key of the layer's last
        output in `recorded`, which may lack it."""
        self._owners = owners_of(module)

    def record(self, key: Hashable, tensor: Tensor) -> None:
        """Record the tensor's present values."""
        if tensor.layout == torch.strided:
            self.recorded[key] = tensor.detach()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = arguments(func, args, kwargs)
        if func._schema.is_mutable:
            self._copy_before_write({memory_of(each) for each in _tensors(written(func, given))})
        result = func(*args, **kwargs)
        if kind_of_operator(func._schema.name) in WEIGHTS:
            self._record_layer(given, _tensors(result)[0])
        elif self._operations and _tensors(result) and _differentiated(given):
            self.recorded.setdefault(_newest(), _tensors(result)[0].detach())
        return result

    def _record_layer(self, given: dict[str, Any], output: Tensor) -> None:
        weights = _tensors([given.get(name) for name in WEIGHT_ARGUMENTS])
        name = self._owners.get(memory_of(weights[0])) if weights else None
        key: Hashable = name
        if _differentiated(given):
            key = _newest()
        if key is not None:
            self.record(key, output)
        if name is not None:
            self.ran[name] = key

    def _copy_before_write(self, addresses: Collection[int]) -> None:
        for key, tensor in self.recorded.items():
            if memory_of(tensor) in addresses:
                self.recorded[key] = tensor.clone()


def _differentiated(given: dict[str, Any]) -> bool:
    return torch.is_grad_enabled() and any(each.requires_grad for each in _tensors(given))


def _newest() -> tuple[int, int]:
    """Return the key of the first output of the operation that runs.

    Autograd has already created the operation's node: it has the last number assigned.
    """
    return torch.autograd._get_sequence_nr() - 1, 0  # type: ignore[attr-defined]


def _tensors(tree: Any) -> list[Tensor]:
    return [
        leaf
        for leaf in tree_leaves(tree)
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided
    ]
