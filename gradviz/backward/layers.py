"""The layers of a model: the places where a gradient can be read, or a backward pass begin.

In an eager module, hooks see the output of each submodule. In TorchScript and exported programs a
layer is the operation whose weight is the layer's parameter: the same memory, so the same layer. A
frozen TorchScript has constants instead of parameters; its layers are numbered in the order in
which they first run. A weight that is computed during the pass, as under weight norm, has memory of
its own, so its layer is numbered as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from gradviz.backward import graph
from gradviz.backward.arrangement import Arrangement, CellFollower, arrangement_of
from gradviz.backward.cells import Cells
from gradviz.backward.layer_outputs import WEIGHTS, ActivationRecorder, memory_of, owners_of
from gradviz.errors import LayerError, UsageError
from gradviz.text import listed, nearest

BY_WEIGHT = torch.jit.ScriptModule | torch.fx.GraphModule
"""The modules whose layers are recognised by their weights, not by hooks."""

NAMED = 12
"""The most layers that a message names if none is near; the others are counted."""


@dataclass(frozen=True)
class Layer:
    """One place in the graph of a pass."""

    name: str
    """The name that `--layer` takes; a second call of the same layer has the suffix `:2`."""
    end: GradientEdge
    """The start of a backward pass from the layer's output."""
    shape: tuple[int, ...]
    """The shape of its output, the batch axis included."""
    activation: Tensor | None = None
    """Its output [N, ...] in this pass; None if outputs were not recorded."""

    cells: Cells | None = None
    """The places of the image that its elements stand for; None if they are not known."""

    @cached_property
    def arrangement(self) -> Arrangement | None:
        """The way to read its output as maps; None if that is not known."""
        return None if self.cells is None else arrangement_of(self.cells)

    @property
    def spatial(self) -> bool:
        """True if its output is a map of more than one place."""
        return self.arrangement is not None and self.arrangement.cells > 1

    @property
    def is_map(self) -> bool:
        """True if its output is a map, of one place at least."""
        return self.spatial or (self.arrangement is not None and len(self.shape) == 4)

    @property
    def channels(self) -> int:
        """The number of channels of a map."""
        assert self.arrangement is not None
        return self.arrangement.map_shape[1]

    @property
    def unlike_a_map(self) -> str:
        """The reason why its output is not a map, for messages."""
        if self.arrangement is None and len(self.shape) > 2:
            return "does not show which of its elements lies where in the image"
        return "has no spatial extent"

    def as_maps(self, tensor: Tensor) -> Tensor:
        """Read a tensor of its output's shape as maps [N, C, h, w]; unchanged if it is no map."""
        return (
            self.arrangement.as_maps(tensor)
            if self.arrangement is not None and self.is_map
            else tensor
        )


def run_with_layers(
    module: nn.Module,
    call: Callable[[Tensor], Tensor],
    x: Tensor,
    recorder: ActivationRecorder | None = None,
) -> tuple[Tensor, dict[str, Layer]]:
    """Call a model once, and collect its layers.

    Args:
        module: the module that `call` runs.
        call: the function that runs it.
        x: the input [N, C, H, W], which requires a gradient.
        recorder: records the outputs of the module's layers, at the cost of their memory.

    Returns:
        the output [N, ...], and the layers by name in execution order.
    """
    places: list[Place] = []

    def record(name: str, output: Tensor) -> None:
        if recorder is not None:
            recorder.ran.setdefault(name, None)
        if output.requires_grad:
            end = get_gradient_edge(output)
            place = Place(name, end, (end.node._sequence_nr(), end.output_nr))
            places.append(place)
            if recorder is not None:
                recorder.record(place.key, output)

    follower = CellFollower(x)
    with recorder or nullcontext(), follower, hooked(module, record):
        y = call(x)
    # Some layers of an eager model run without a call, such as the projection of attention.
    called = {place.name for place in places}
    places += (place for place in _by_weight(module, y) if place.name not in called)
    places.sort(key=lambda place: place.key)
    return y, {layer.name: layer for layer in _numbered(places, follower, recorder)}


def find_layer(layers: Mapping[str, Layer], name: str) -> Layer:
    """Find the layer of this name.

    Args:
        layers: the layers by name.
        name: the text of `--layer`.

    Raises:
        UsageError: no layer has that name; the message has the nearest names, or the first.
    """
    if name not in layers:
        names = f"it has {listed(list(layers), NAMED)}: see gradviz inspect"
        hint = nearest(name, layers, names, most=3, joined=", ")
        raise UsageError(f"--layer {name}: the model has no such layer; {hint}")
    return layers[name]


def gradients_at(y: Tensor, layers: Sequence[Layer], v: Tensor) -> dict[str, Tensor | None]:
    """Compute the gradient at the output of every layer.

    Args:
        y: the output, whose graph is kept.
        layers: the layers of the pass.
        v: the cotangent, of the shape of `y`.

    Returns:
        the gradients by the names of the layers; None if no path leads to a layer.
    """
    # A block and its last layer may have the same end, which autograd accepts only once.
    ends = {(layer.end.node, layer.end.output_nr): layer.end for layer in layers}
    if not ends:
        return {}
    found = torch.autograd.grad(y, tuple(ends.values()), v, allow_unused=True, retain_graph=True)
    by_end = dict(zip(ends, found, strict=True))
    return {layer.name: by_end[layer.end.node, layer.end.output_nr] for layer in layers}


def last_map(layers: Mapping[str, Layer], y: Tensor) -> Layer:
    """Find the last layer with a weight whose output is a map, before the layer that makes `y`.

    Layers without a weight are skipped, so that all formats of a model give the same layer.

    Args:
        layers: the layers by name, in execution order.
        y: the output [N, ...], with its graph.

    Raises:
        LayerError: no layer qualifies.
    """
    last = _last_weighted(y)
    maps = [
        layer
        for layer in layers.values()
        if layer.spatial
        and layer.arrangement is not None
        and layer.arrangement.plain
        and graph.kind_of(layer.end.node) in WEIGHTS
        and layer.end.node is not last
    ]
    if not maps:
        raise LayerError(
            "no layer with a weight before the output has spatial extent, which Grad-CAM needs; "
            "name one with --layer, or use another --method"
        )
    # A block that ends in the layer has the same output, and its name comes later.
    return next(layer for layer in maps if layer.end.node is maps[-1].end.node)


def _last_weighted(y: Tensor) -> Node:
    """Find the operation with a weight that makes `y`.

    Operations after it may only enlarge, squash or move its values: one path leads on, and values
    are lost by cropping only.
    """
    node = graph.edge_of(y).node
    while graph.kind_of(node) not in WEIGHTS:
        edges = node.next_functions
        before = [GradientEdge(deeper, n) for deeper, n in edges if deeper is not None]
        if len(before) != 1 or graph.kind_of(before[0].node) == graph.ACCUMULATE:
            break
        sizes = [
            Size(shape).numel() for shape in (graph.shape_of(before[0]), graph.shapes_of(node)[0])
        ]
        if sizes[0] > sizes[1] and graph.kind_of(node) != "Slice":
            break
        node = before[0].node
    return node


@dataclass(frozen=True)
class Place:
    """A place in the graph where the output of a layer was computed."""

    name: str
    end: GradientEdge
    key: tuple[int, int]
    """Its key in `ActivationRecorder.recorded`."""


@contextmanager
def hooked(module: nn.Module, record: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Pass the name and the output of each eager submodule to `record` while the block runs.

    Of several outputs, the first is passed. A TorchScript module inside takes no hooks.
    """

    def hook_of(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _given: Any, output: Any) -> None:
            if isinstance(output, tuple | list) and output:
                output = output[0]
            if isinstance(output, Tensor):
                record(name, output)

        return hook

    handles = [
        child.register_forward_hook(hook_of(name))
        for name, child in ([] if isinstance(module, BY_WEIGHT) else module.named_modules())
        if name and not isinstance(child, torch.jit.ScriptModule)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _by_weight(module: nn.Module, y: Tensor) -> Iterator[Place]:
    """Yield the layers whose weights are in the graph of `y`.

    Layers without a name are included only if hooks fail.
    """
    names = owners_of(module)
    nameless: Counter[str] = Counter()
    users = graph.users_of(y)
    for node in graph.nodes_of(y):
        saved, word = WEIGHTS.get(graph.kind_of(node), ("", ""))
        weight = getattr(node, saved, None)
        if not isinstance(weight, Tensor) or weight.requires_grad:
            continue
        if memory_of(weight) not in names and isinstance(module, BY_WEIGHT):
            names[memory_of(weight)] = f"{word}_{nameless[word]}"
            nameless[word] += 1
        if name := names.get(memory_of(weight)):
            yield Place(name, _whole(node, users[node]), (node._sequence_nr(), 0))


def _whole(node: Node, users: Sequence[Node]) -> GradientEdge:
    """Return the edge of a layer's whole output.

    A linear layer on tokens flattens them into one row of axes, and a view restores the axes.
    """
    linear = graph.kind_of(node) in {"Addmm", "Mm", "Bmm"}
    if (
        linear
        and len(users) == 1
        and graph.kind_of(users[0]) in {"View", "UnsafeView", "ReshapeAlias"}
    ):
        (rows, *_), (shape, *_) = graph.shapes_of(node), graph.shapes_of(users[0])
        if len(shape) > len(rows) and shape[-1] == rows[-1]:
            return GradientEdge(users[0], 0)
    return GradientEdge(node, 0)


def _numbered(
    places: Sequence[Place], follower: CellFollower, recorder: ActivationRecorder | None
) -> Iterator[Layer]:
    calls: Counter[str] = Counter()
    for place in places:
        calls[place.name] += 1
        count = calls[place.name]
        shape = graph.shape_of(place.end)
        activation = None if recorder is None else recorder.recorded.get(place.key)
        yield Layer(
            place.name if count == 1 else f"{place.name}:{count}",
            place.end,
            shape,
            None if activation is None else activation.reshape(shape),
            follower.cells_at(place.end),
        )
