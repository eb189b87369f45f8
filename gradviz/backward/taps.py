"""Where a gradient can be read, or a pass begin: the layers of a model.

An eager module tells by hooks what each submodule puts out. In TorchScript and exported programs a
layer is the operation whose weight is the layer's parameter: the same memory, so the same layer. A
frozen TorchScript has constants instead of parameters; its layers are numbered in the order in
which they run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from gradviz.backward.graph import kind_of, nodes_of, shape_of

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

    @property
    def spatial(self) -> bool:
        """Whether its output is a map [N, C, H, W] of more than one place."""
        return len(self.shape) == 4 and self.shape[2] * self.shape[3] > 1


def run_with_layers(
    module: nn.Module, call: Callable[[], Tensor]
) -> tuple[Tensor, dict[str, Layer]]:
    """Call a model once; its output, and its layers by name in the order in which they ran.

    Args:
        module: what `call` runs.
        call: runs it on an input that requires a gradient.
    """
    if isinstance(module, torch.jit.ScriptModule | torch.fx.GraphModule):
        y = call()
        return y, {layer.name: layer for layer in _by_weight(module, y)}
    edges: list[tuple[str, GradientEdge]] = []
    with hooked(module, lambda name, output: edges.append((name, get_gradient_edge(output)))):
        y = call()
    return y, {layer.name: layer for layer in _numbered(edges)}


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


def _by_weight(module: nn.Module, y: Tensor) -> Iterator[Layer]:
    owners = {
        parameter.untyped_storage().data_ptr(): name.rpartition(".")[0] or name
        for name, parameter in module.named_parameters()
    }
    nameless: Counter[str] = Counter()
    edges = []
    for node in nodes_of(y):
        saved, word = WEIGHTS.get(kind_of(node), ("", ""))
        weight = getattr(node, saved, None)
        if not isinstance(weight, Tensor) or weight.requires_grad:
            continue
        name = owners.get(weight.untyped_storage().data_ptr())
        if name is None:
            name = f"{word}_{nameless[word]}"
            nameless[word] += 1
        edges.append((name, GradientEdge(node, 0)))
    return _numbered(edges)


def _numbered(edges: list[tuple[str, GradientEdge]]) -> Iterator[Layer]:
    calls: Counter[str] = Counter()
    for name, end in edges:
        calls[name] += 1
        count = calls[name]
        yield Layer(name if count == 1 else f"{name}:{count}", end, shape_of(end))
