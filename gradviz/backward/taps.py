"""Where a gradient can be read, or a pass begin: the layers of a model.

An eager module tells by hooks what each submodule puts out. In TorchScript and exported programs a
layer is the operation whose weight is the layer's parameter: the same memory, so the same layer. A
frozen TorchScript has constants instead of parameters; its layers are numbered in the order in
which they run.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from gradviz.backward.graph import edge_of, kind_of, nodes_of, shape_of
from gradviz.backward.keep import Keeper
from gradviz.backward.rules import VIEWS
from gradviz.errors import UsageError

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


@dataclass(frozen=True)
class Layer:
    """One place in the graph of a pass."""

    name: str
    """What `--layer` takes; a second call of the same layer has `:2` behind it."""
    end: GradientEdge
    """Where a backward pass from its output begins."""
    shape: tuple[int, ...]
    """Of its output, the batch axis included."""
    activation: Tensor | None = None
    """Its output [N, ...] as it was in this pass, where outputs were kept; else None."""

    @property
    def spatial(self) -> bool:
        """Whether its output is a map [N, C, H, W] of more than one place."""
        return len(self.shape) == 4 and self.shape[2] * self.shape[3] > 1


def run_with_layers(
    module: nn.Module, call: Callable[[], Tensor], keep: bool = False
) -> tuple[Tensor, dict[str, Layer]]:
    """Call a model once; its output, and its layers by name in the order in which they ran.

    Args:
        module: what `call` runs.
        call: runs it on an input that requires a gradient.
        keep: whether the layers' outputs are kept, which holds their memory.
    """
    places: list[Place] = []
    if isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule):
        keeper = Keeper(WEIGHTS) if keep else None
        with keeper or nullcontext():
            y = call()
        places.extend(_by_weight(module, y))
    else:
        keeper = Keeper() if keep else None

        def see(name: str, output: Tensor) -> None:
            if keeper is not None:
                keeper.keep(len(places), output)
            places.append(Place(name, get_gradient_edge(output), len(places)))

        with keeper or nullcontext(), hooked(module, see):
            y = call()
    return y, {layer.name: layer for layer in _numbered(places, keeper)}


def find_layer(layers: Mapping[str, Layer], name: str) -> Layer:
    """The layer of that name.

    Raises:
        UsageError: there is none; the message has the nearest name, or all of them.
    """
    if name not in layers:
        near = difflib.get_close_matches(name, layers, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(layers)}"
        raise UsageError(f"--layer {name}: the model has no such layer; {hint}")
    return layers[name]


def last_map(layers: Mapping[str, Layer], y: Tensor) -> Layer:
    """The last layer with a weight whose output is a map, other than the model's output `y` itself.

    A layer without a weight does not count, so that all formats of a model give the same one.

    Raises:
        UsageError: there is none.
    """
    last = edge_of(y).node
    while kind_of(last) in {*VIEWS, "Slice"} and (before := last.next_functions[0][0]) is not None:
        last = before
    maps = [
        layer
        for layer in layers.values()
        if layer.spatial and kind_of(layer.end.node) in WEIGHTS and layer.end.node is not last
    ]
    if not maps:
        raise UsageError(
            "no layer with a weight before the output has spatial extent, which Grad-CAM needs; "
            "name one with --layer, or use another --method"
        )
    # A block that ends in the layer has the same output, and its name comes later.
    return next(layer for layer in maps if layer.end.node is maps[-1].end.node)


@dataclass(frozen=True)
class Place:
    """Where a layer's output was met."""

    name: str
    end: GradientEdge
    key: int
    """Under which a `Keeper` holds it."""


@contextmanager
def hooked(module: nn.Module, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """While this lasts, `see` gets the name and the output of each eager submodule that runs.

    Only outputs that are a tensor with a gradient. TorchScript inside takes no hooks.
    """

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _given: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.requires_grad:
                see(name, output)

        return hook

    handles = [
        child.register_forward_hook(keep(name))
        for name, child in module.named_modules()
        if name and not isinstance(child, torch.jit.ScriptModule)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _by_weight(module: nn.Module, y: Tensor) -> Iterator[Place]:
    owners = {
        parameter.untyped_storage().data_ptr(): name.rpartition(".")[0] or name
        for name, parameter in module.named_parameters()
    }
    nameless: Counter[str] = Counter()
    for node in nodes_of(y):
        saved, word = WEIGHTS.get(kind_of(node), ("", ""))
        weight = getattr(node, saved, None)
        if not isinstance(weight, Tensor) or weight.requires_grad:
            continue
        name = owners.get(weight.untyped_storage().data_ptr())
        if name is None:
            name = f"{word}_{nameless[word]}"
            nameless[word] += 1
        yield Place(name, GradientEdge(node, 0), node._sequence_nr())


def _numbered(places: list[Place], keeper: Keeper | None) -> Iterator[Layer]:
    calls: Counter[str] = Counter()
    for place in places:
        calls[place.name] += 1
        count = calls[place.name]
        yield Layer(
            place.name if count == 1 else f"{place.name}:{count}",
            place.end,
            shape_of(place.end),
            None if keeper is None else keeper.kept.get(place.key),
        )
