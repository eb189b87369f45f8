"""The outputs of layers as they were, though the model writes into their memory later."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradviz.backward.graph import kind_of_operator


class Keeper(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches a forward pass from below autograd and holds on to the outputs of some operations.

    Nothing is copied before an operation is about to write into what is held, as an in-place ReLU
    does to the convolution before it.
    """

    def __init__(self, kinds: Collection[str] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[Hashable, Tensor] = {}
        """What is held; the operations' by the sequence number of their node."""
        self._kinds = kinds

    def keep(self, key: Hashable, tensor: Tensor) -> None:
        """Hold on to what the tensor holds now."""
        self.kept[key] = tensor.detach()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            self._copy({_memory(each) for each in _tensors((args, kwargs))})
        result = func(*args, **kwargs)
        if kind_of_operator(func._schema.name) in self._kinds:
            # Autograd has made the operation's node already: it has the last number given out.
            last = torch.autograd._get_sequence_nr() - 1  # type: ignore[attr-defined]
            self.keep(last, _tensors(result)[0])
        return result

    def _copy(self, written: Collection[int]) -> None:
        for key, tensor in self.kept.items():
            if _memory(tensor) in written:
                self.kept[key] = tensor.clone()


def _tensors(tree: Any) -> list[Tensor]:
    return [
        leaf
        for leaf in tree_leaves(tree)
        if isinstance(leaf, Tensor) and leaf.layout == torch.strided
    ]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
