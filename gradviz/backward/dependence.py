"""What the forward pass decides from the values of the image.

A structural field is a statement about the network. It is exact only where no choice (which branch
is taken, which element is picked, what is cut out of the gradient) depends on the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Dependence(TorchDispatchMode):
    """Watches a forward pass from below autograd, whatever the format of the model.

    A tensor that was computed from the image but carries no gradient is hidden: a comparison, an
    index, a detached value. Where a hidden tensor meets one that carries a gradient, or decides
    the flow of control, the backward pass cannot know what matters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.selections: dict[str, None] = {}
        """The operations that chose by the image's values, in order."""
        self.random: dict[str, None] = {}
        """The operations that drew random numbers."""
        # Held, so that no later tensor can get the memory, and with it the address, of a hidden one.
        self._hidden: dict[int, torch.UntypedStorage] = {}
        self._latest: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self._settle()
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        carrying = any(tensor.requires_grad for tensor in given)
        hidden = any(self._is_hidden(tensor) for tensor in given)
        result = func(*args, **kwargs)
        name = func._schema.name.partition("::")[2].strip("_")
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random[name] = None
        if not carrying and not hidden:
            return result
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if (hidden and carrying) or not made:
            self.selections[name] = None
        # Autograd marks what carries a gradient after this call: who is hidden shows at the next.
        self._latest = made
        return result

    def _settle(self) -> None:
        for tensor in self._latest:
            if not tensor.requires_grad:
                storage = tensor.untyped_storage()
                self._hidden[storage.data_ptr()] = storage
        self._latest = []

    def _is_hidden(self, tensor: Tensor) -> bool:
        return not tensor.requires_grad and tensor.untyped_storage().data_ptr() in self._hidden
