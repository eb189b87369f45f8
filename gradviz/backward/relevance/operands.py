"""Records the operands of operations in a forward pass, of which autograd keeps only some."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils._pytree import tree_map_only

from gradviz.backward.graph import WRITE, WROTE, kind_of, kind_of_operator
from gradviz.backward.layer_outputs import memory_of
from gradviz.watch import Watch, arguments, tensors_in, written


@dataclass
class _Kept:
    """A tensor with the values that it had when it was recorded."""

    tensor: Tensor


@dataclass(frozen=True)
class KeptCall:
    """One call of an operator, with the values that it read and computed."""

    given: dict[str, Any]
    """The arguments by name; tensors are `_Kept`."""
    places: tuple[str, ...]
    """The names of the arguments that are tensors, in the order of the node's inputs."""
    results: tuple[Any, ...]
    """The results; tensors are `_Kept`."""

    def __getitem__(self, name: str) -> Any:
        """Return the value of an argument."""
        return _plain(self.given[name])

    def get(self, *names: str) -> Any:
        """Return the value of the first of these arguments that the operator has, or None."""
        return next((self[name] for name in names if name in self.given), None)

    def operand(self, place: int) -> Any:
        """Return the tensor, number or None that is the operation's input of this number."""
        return self[self.places[place]]

    def result(self, place: int = 0) -> Tensor:
        """Return a result."""
        tensor: Tensor = _plain(self.results[place])
        return tensor


class OperandRecorder(Watch):  # type: ignore[no-untyped-call]
    """A recorder of the values that operations read and compute, below autograd.

    A tensor is copied only if an operation is about to write into it.
    """

    def __init__(self, kinds: Collection[str]) -> None:
        """Take the kinds of operations to record, as `kind_of` names them."""
        super().__init__()
        self._kinds = kinds
        self._calls: dict[int, KeptCall] = {}
        self._kept: defaultdict[int, list[_Kept]] = defaultdict(list)
        self._written: list[tuple[Tensor, str]] = []

    def call_of(self, node: Node) -> KeptCall | None:
        """Return the recorded call that made a node of the graph, if there is one."""
        return self._calls.get(node._sequence_nr())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self._name_writes()
        kwargs = kwargs or {}
        given = arguments(func, args, kwargs)
        is_recorded = (
            kind_of_operator(func._schema.name) in self._kinds
            and torch.is_grad_enabled()
            and any(each.requires_grad for each in tensors_in(given))
        )
        kept = self._keep(given) if is_recorded else {}
        for tensor in tensors_in(written(func, given)):
            for each in self._kept.pop(memory_of(tensor), ()):
                each.tensor = each.tensor.clone()
            if tensor._base is not None:
                self._written.append((tensor._base, kind_of_operator(func._schema.name)))
        results = func(*args, **kwargs)
        if is_recorded:
            places = tuple(
                each.name for each in func._schema.arguments if "Tensor" in str(each.type)
            )
            listed = results if isinstance(results, tuple | list) else (results,)
            # Autograd has already created the operation's node: it has the last number assigned.
            number = torch.autograd._get_sequence_nr() - 1  # type: ignore[attr-defined]
            self._calls[number] = KeptCall(kept, places, tuple(self._keep(listed)))
        return results

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._name_writes()

    def _name_writes(self) -> None:
        """Note at each node of a write into a part of a tensor what wrote there.

        Autograd makes that node after the operation, and does not record it.
        """
        for whole, kind in self._written:
            if whole.grad_fn is not None and kind_of(whole.grad_fn) == WRITE:
                notes: Any = whole.grad_fn.metadata
                notes[WROTE] = kind
        self._written.clear()

    def _keep(self, tree: Any) -> Any:
        def keep(tensor: Tensor) -> _Kept:
            kept = _Kept(tensor.detach())
            self._kept[memory_of(tensor)].append(kept)
            return kept

        return tree_map_only(Tensor, keep, tree)


def _plain(tree: Any) -> Any:
    return tree_map_only(_Kept, lambda kept: kept.tensor, tree)
