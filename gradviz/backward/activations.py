"""What the layers of a model put out, measured while they run.

A layer's output may be written over by the next operation, so it is measured at once and not kept.
Which layer an operation of a TorchScript or exported program belongs to is told by the memory of
its weight, as in `taps`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils._python_dispatch import TorchDispatchMode

from gradviz.backward.graph import kind_of, kind_of_operator, nodes_of
from gradviz.backward.taps import WEIGHTS, Layer, hooked, run_with_layers

BY_WEIGHT = torch.jit.ScriptModule | torch.fx.GraphModule
"""The modules whose layers are known by their weights, not by hooks."""

WEIGHT_ARGUMENTS = frozenset({"weight", "mat2"})
"""What the operators behind `taps.WEIGHTS` call their weight."""

Zeroes = Callable[[Any], Tensor]

ZEROES: dict[str, Zeroes] = {
    "Relu": lambda node: node._saved_result == 0,
    "Hardtanh": lambda node: (node._saved_self <= 0) & (node._saved_min_val == 0),
    "Hardswish": lambda node: node._saved_self <= -3,
}
"""Activations that put out zeros: bool, True where a unit is off. A `Hardtanh` whose lower bound is
0 is a ReLU6; another one puts out no zeros."""


@dataclass(frozen=True)
class Activation:
    """What one layer put out."""

    norm: Tensor
    """float64 []: Euclidean, over the whole batch."""
    off: Tensor | None
    """bool [C]: the channels of a map that are zero everywhere; None where it is no map."""


@dataclass(frozen=True)
class Measured:
    """A pass, its layers, and what they put out."""

    y: Tensor
    layers: dict[str, Layer]
    """As `taps.run_with_layers` gives them."""
    activations: dict[str, Activation]
    """By layer. One is left out where the output depends on some of its calls alone, since which
    they are is not known."""
    apart: tuple[str, ...]
    """Layers known by their weights that ran, but that the output does not depend on."""


def run_measured(module: nn.Module, call: Callable[[], Tensor]) -> Measured:
    """Call a model once and measure what its layers put out.

    Args:
        module: what `call` runs.
        call: runs it on an input that requires a gradient.
    """
    if isinstance(module, BY_WEIGHT):
        with _Weighted() as weighted:
            y, layers = run_with_layers(module, call)
        return Measured(y, layers, *_matched(module, layers, weighted.seen))
    seen: list[Activation] = []
    with hooked(module, lambda _, output: seen.append(_measure(output))):
        y, layers = run_with_layers(module, call)
    # Both sets of hooks saw the same outputs.
    return Measured(y, layers, dict(zip(layers, seen, strict=True)), ())


def off_after(y: Tensor, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """The channels that the activation behind a layer sets to zero everywhere: bool [C].

    Only of layers that put out maps and are followed by one operation alone, a row of `ZEROES`. The
    graph of `y` must still hold what it saved.
    """
    users: defaultdict[Node, list[Node]] = defaultdict(list)
    for node in nodes_of(y):
        for before, _ in node.next_functions:
            if before is not None:
                users[before].append(node)
    found = {}
    for layer in layers:
        behind = users[layer.end.node]
        if layer.spatial and len(behind) == 1 and kind_of(behind[0]) in ZEROES:
            off = ZEROES[kind_of(behind[0])](behind[0])
            if off.shape == layer.shape:
                found[layer.name] = _everywhere(off)
    return found


def _measure(output: Tensor) -> Activation:
    with torch.no_grad():
        is_map = output.dim() == 4 and output.shape[2] * output.shape[3] > 1
        norm = torch.linalg.vector_norm(output.detach(), dtype=torch.float64)
        return Activation(norm, _everywhere(output == 0) if is_map else None)


def _everywhere(zero: Tensor) -> Tensor:
    return zero.flatten(2).all(2).all(0)


Seen = list[tuple[Tensor, Activation]]
"""Weights, and what came of each, in the order of the calls."""


class _Weighted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Measures what every operator of `taps.WEIGHTS` makes of the image, from below autograd."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # The weights are kept, so that their memory is nobody else's.
        self.seen: Seen = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # Parameters carry no gradient, so what does was computed from the image.
        carrying = any(isinstance(value, Tensor) and value.requires_grad for value in args)
        if not carrying or kind_of_operator(func._schema.name) not in WEIGHTS:
            return result
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.name in WEIGHT_ARGUMENTS and isinstance(value, Tensor):
                output = result if isinstance(result, Tensor) else result[0]
                self.seen.append((value, _measure(output)))
        return result


def _matched(
    module: nn.Module, layers: dict[str, Layer], seen: Seen
) -> tuple[dict[str, Activation], tuple[str, ...]]:
    calls: defaultdict[int, list[Activation]] = defaultdict(list)
    for weight, activation in seen:
        calls[weight.untyped_storage().data_ptr()].append(activation)
    names: defaultdict[int, list[str]] = defaultdict(list)
    for layer in layers.values():
        node: Any = layer.end.node
        weight = getattr(node, WEIGHTS[kind_of(node)][0])
        names[weight.untyped_storage().data_ptr()].append(layer.name)
    activations = {
        name: activation
        for place, own in names.items()
        if len(own) == len(calls[place])
        for name, activation in zip(own, calls[place], strict=True)
    }
    apart = {
        name.rpartition(".")[0] or name: None
        for name, parameter in module.named_parameters()
        if (place := parameter.untyped_storage().data_ptr()) in calls and place not in names
    }
    return activations, tuple(apart)
