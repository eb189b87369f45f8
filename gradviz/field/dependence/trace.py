"""A trace of the forward pass: its decisions by the values of the image.

A structural field is a statement about the network. It is exact only if no choice (which branch is
taken, which element is picked, what is cut out of the gradient) depends on the image.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

from gradviz.backward.graph import SELECTS, WROTE, kind_of_operator
from gradviz.backward.layer_outputs import ActivationRecorder
from gradviz.watch import EXPORTS, Watch, storage_of, tensors_in

FACTORIES = frozenset(
    [
        *("empty_like", "zeros_like", "ones_like", "full_like"),
        *("rand_like", "randn_like", "randint_like"),
        *("new_empty", "new_empty_strided", "new_zeros", "new_ones", "new_full"),
    ]
)
"""Operators that take only the shape of their argument, not its values."""

READS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
"""The tags of operators whose result, a Python value or a shape, depends on values."""

PICKS = frozenset(["index", "masked_select"])
"""Operators with such a tag whose shape depends on their indices alone, not on the picked
values."""


class DependenceTrace(Watch):
    """A recorder of decisions in a forward pass, below autograd, for any format of model.

    A tensor that was computed from the image but carries no gradient is hidden: a comparison, an
    index, a detached value. The backward pass does not see through it. If it meets a tensor that
    does carry a gradient, the node of that operation in the autograd graph is marked, and
    `propagate` names the operation if it lies on the way. If it decides the flow of control, no
    node records it, and the operation is named here.

    The model's parameters must not require gradients, or they pass for the image.
    """

    def __init__(self) -> None:
        super().__init__(_Exports(self))
        self.selections: dict[str, int] = {}
        """The operators that gave values to the program, in order, each with the number of the next
        node of the graph: the field of every output from that node on is partial."""
        self.random: dict[str, None] = {}
        """The operators that drew random numbers, in order."""
        # Weak, so that watching holds no memory; a dead reference keeps its address from use.
        self._computed: set[StorageWeakRef] = set()
        self._addresses: dict[int, StorageWeakRef] = {}
        """The memory of what was computed: another tensor may be made of it past all operators."""
        self._after: Callable[[], None] | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self._settle()
        kwargs = kwargs or {}
        given = list(tensors_in((args, kwargs)))
        carrying = [tensor for tensor in given if tensor.requires_grad]
        hidden = any(not tensor.requires_grad and self.depends_on_image(tensor) for tensor in given)
        self._remember(carrying)
        if torch.Tag.nondeterministic_seeded in func.tags:
            result = self._run_seeded(func, args, kwargs, given)
        else:
            result = func(*args, **kwargs)
        name = _name(func)
        if name in FACTORIES or not (carrying or hidden):
            return result
        made = list(tensors_in(result))
        self._remember(made)
        if READS.intersection(func.tags) and (hidden or name not in PICKS):
            self.select("item" if name == "_local_scalar_dense" else name)
        in_place = func._schema.is_mutable
        if in_place or (hidden and carrying):
            # Autograd makes the node of an operation that writes after this call.
            self._after = lambda: _mark(made, in_place, name, selects=hidden)
        return result

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._settle()

    def _settle(self) -> None:
        after, self._after = self._after, None
        if after is not None:
            after()

    def _run_seeded(
        self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], given: Sequence[Tensor]
    ) -> Any:
        """Run an operator that can draw random numbers, and record it if it did.

        It did not if dropout is switched off.
        """
        own = kwargs.get("generator")
        devices = {tensor.device for tensor in given} | {torch.device("cpu")}
        before = [_state(own, device) for device in devices]
        result = func(*args, **kwargs)
        after = [_state(own, device) for device in devices]
        if not all(map(torch.equal, before, after)):
            self.random[_name(func).strip("_")] = None
        return result

    def select(self, name: str) -> None:
        """Note that an operator gave values to the program."""
        number: int = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
        self.selections.setdefault(name, number)

    def depends_on_image(self, tensor: Tensor) -> bool:
        """Return True if the tensor, or another in its memory, was computed from the image."""
        # The memory of sparse and blocked layouts cannot be compared.
        if tensor.layout != torch.strided or not self._computed.isdisjoint(_storages([tensor])):
            return True
        # As of a DLPack capsule, which keeps the memory of the tensor that it was made of.
        owner = self._addresses.get(storage_of(tensor).data_ptr())
        return owner is not None and not owner.expired()  # type: ignore[no-untyped-call]

    def _remember(self, tensors: Iterable[Tensor]) -> None:
        self._computed |= _storages(tensors)
        for tensor in tensors:
            if tensor.layout == torch.strided and (address := storage_of(tensor).data_ptr()):
                self._addresses[address] = StorageWeakRef(storage_of(tensor))  # type: ignore[no-untyped-call]


class _Exports(TorchFunctionMode):
    """A recorder of values that Python reads straight from memory, without an operator."""

    def __init__(self, watcher: DependenceTrace) -> None:
        super().__init__()
        self._watcher = watcher

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in EXPORTS and self._watcher.depends_on_image(args[0]):
            self._watcher.select(name)
        return func(*args, **(kwargs or {}))


def detached_layers(
    recorder: ActivationRecorder, reached: Collection[str], trace: DependenceTrace
) -> Iterator[tuple[str, Tensor]]:
    """Yield the layers that ran on the image but that no gradient reaches, with their outputs.

    Args:
        recorder: the outputs of the layers in one pass.
        reached: the names of the layers that a gradient reaches.
        trace: the dependence on the image in the same pass.
    """
    for name, key in recorder.ran.items():
        output = recorder.recorded.get(key)
        if name not in reached and output is not None and trace.depends_on_image(output):
            yield name, output


def _mark(made: Iterable[Tensor], in_place: bool, name: str, selects: bool) -> None:
    for tensor in made:
        if not tensor.requires_grad:
            continue
        # A view that was written to has its operation's node at the tensor that it is a view of.
        owner = tensor._base if in_place and tensor._base is not None else tensor
        notes: Any = owner.grad_fn.metadata if owner.grad_fn is not None else {}
        if in_place:
            notes[WROTE] = kind_of_operator(name)
        if selects:
            notes[SELECTS] = True


def _name(func: Any) -> str:
    name: str = func._schema.name.partition("::")[2]
    return name


def _storages(tensors: Iterable[Tensor]) -> set[StorageWeakRef]:
    return {
        StorageWeakRef(storage_of(tensor))  # type: ignore[no-untyped-call]
        for tensor in tensors
        if tensor.layout == torch.strided
    }


def _state(own: torch.Generator | None, device: torch.device) -> Tensor:
    if own is not None:
        return own.get_state()
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.get_rng_state()
