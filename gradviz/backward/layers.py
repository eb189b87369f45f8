"""The layers of a model: the places where a gradient can be read, or a backward pass begin.

In an eager module, hooks see the output of each submodule. In TorchScript and exported programs a
layer is the operation whose weight is the layer's parameter: the same memory, so the same layer. A
frozen TorchScript has constants instead of parameters; its layers are numbered in the order in
which they first run. A weight that is computed during the pass, as under weight norm, has memory of
its own, so its layer is numbered as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from gradviz.backward import graph
from gradviz.backward.arrangement import Arrangement, CellFollower, arrangement_of, stated
from gradviz.backward.cells import Cells
from gradviz.backward.layer_outputs import (
    WEIGHTS,
    ActivationRecorder,
    memory_of,
    owners_of,
    weight_of,
)
from gradviz.errors import UsageError
from gradviz.layout import FORMS, Layout
from gradviz.text import listed, nearest

BY_WEIGHT = torch.jit.ScriptModule | torch.fx.GraphModule
"""The modules whose layers are recognised by their weights, not by hooks."""

OPERATION = re.compile(r"[a-z]\w*_\d+")
"""The form of an operation's name."""

NAMED = 12
"""The most layers that a message names if none is near; the others are counted."""


@dataclass(frozen=True)
class LayoutReader:
    """Reads the outputs of layers as `--layout` says."""

    layout: Layout
    entered: tuple[int, ...]
    """The shape [N, C, H, W] of what entered the model."""

    def __call__(self, shape: tuple[int, ...]) -> Arrangement:
        """Make the arrangement of an output of this shape.

        Raises:
            UsageError: the layout does not fit it, or fits it in two ways.
        """
        return stated(self.layout, shape, self.entered)


@dataclass(frozen=True)
class Layer:
    """One place in the graph of a pass."""

    name: str
    """The name that `--layer` takes; a second call of the same layer has the suffix `:2`. An
    operation that is no layer is named by its kind: `add_3` is the fourth addition."""
    end: GradientEdge
    """The start of a backward pass from the layer's output."""
    shape: tuple[int, ...]
    """The shape of its output, the batch axis included."""
    activation: Tensor | None = None
    """Its output [N, ...] in this pass; None if outputs were not recorded."""

    cells: Cells | None = None
    """The places of the image that its elements stand for; None if they are not known."""
    reader: LayoutReader | None = None
    """The way to read its output that `--layout` states, if it does."""

    @cached_property
    def arrangement(self) -> Arrangement | None:
        """The way to read its output as maps: as derived, else as stated; None if not known."""
        if self._derived is None and self.reader is not None:
            with suppress(UsageError):
                return self.reader(self.shape)
        return self._derived

    @cached_property
    def _derived(self) -> Arrangement | None:
        return None if self.cells is None else arrangement_of(self.cells)

    def check_layout(self) -> None:
        """Check that the layout that was stated fits its output, if it has more than one place.

        Raises:
            UsageError: it does not, or the pass shows another arrangement.
        """
        if self.reader is None or len(self.shape) < 3:
            return
        read = self.reader(self.shape)
        if self._derived is not None and not read.same_as(self._derived):
            raise UsageError(
                f"--layout {self.reader.layout}: the pass shows that the output {list(self.shape)} "
                f"of {self.name} lies otherwise: leave out --layout"
            )

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
            return (
                "does not show which of its elements lies where in the image (say it with --layout "
                f"{FORMS})"
            )
        return "has no spatial extent"

    def as_maps(self, tensor: Tensor) -> Tensor:
        """Read a tensor of its output's shape as maps [N, C, h, w]; unchanged if it is no map."""
        return (
            self.arrangement.as_maps(tensor)
            if self.arrangement is not None and self.is_map
            else tensor
        )


@dataclass(frozen=True, eq=False)
class Layers(Mapping[str, Layer]):
    """The layers of one pass by name, in execution order."""

    x: Tensor
    """The image, [N, C, H, W]."""
    y: Tensor
    """The output [N, ...], with its graph."""
    _layers: dict[str, Layer]
    _make: LayerMaker

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    @property
    def maps(self) -> list[str]:
        """The names of the layers that are maps of more than one place, the last one first."""
        return [layer.name for layer in reversed(self._layers.values()) if layer.spatial]

    @cached_property
    def operations(self) -> dict[str, Layer]:
        """The outputs of all operations in the graph, by their kinds and order: `add_0`, `relu_2`.

        What only moves values has no name, nor has what happens to the image before it enters the
        model. A name that a layer has is left out.
        """
        image = graph.edge_of(self.x).node
        counts: Counter[str] = Counter()
        found = {}
        for node in graph.nodes_of(self.y):
            entering = any(before is image for before, _ in node.next_functions)
            if entering or graph.kind_of(node) in graph.REARRANGEMENTS:
                continue
            word = graph.word_of(node)
            while (name := f"{word}_{counts[word]}") in self._layers:
                counts[word] += 1
            counts[word] += 1
            found[name] = self._make(name, GradientEdge(node, 0), (node._sequence_nr(), 0))
        return found

    @cached_property
    def output_is_map(self) -> bool:
        """True if the output is a map, or of a rank that may be one."""
        return self.y.dim() > 2 or self.output.spatial

    @cached_property
    def output(self) -> Layer:
        """The model's output, as a layer without a name."""
        end = graph.edge_of(self.y)
        return self._make("", end, (end.node._sequence_nr(), 0))


def run_with_layers(
    module: nn.Module,
    call: Callable[[Tensor], Tensor],
    x: Tensor,
    recorder: ActivationRecorder | None = None,
    layout: Layout | None = None,
) -> tuple[Tensor, Layers]:
    """Call a model once, and collect its layers.

    Args:
        module: the module that `call` runs.
        call: the function that runs it.
        x: the input [N, C, H, W], which requires a gradient.
        recorder: records the outputs of the module's layers, at the cost of their memory.
        layout: the layout of outputs whose arrangement cannot be derived.

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
    reader = None if layout is None else LayoutReader(layout, tuple(x.shape))
    make = LayerMaker(follower, recorder, reader)
    return y, Layers(x, y, {layer.name: layer for layer in _numbered(places, make)}, make)


def find_layer(layers: Layers, name: str) -> Layer:
    """Find the layer, or the operation, of this name, and check its layout if one was stated.

    Args:
        layers: the layers of a pass.
        name: the text of `--layer`.

    Raises:
        UsageError: no layer has that name (the message has the nearest names, or the first), or
            the layout does not fit.
    """
    found = layers.get(name)
    if found is None and names_operation(name):
        found = layers.operations.get(name)
    if found is None:
        names = f"it has {listed(list(layers), NAMED)}: see gradviz inspect"
        hint = nearest(name, layers, names, most=3, joined=", ")
        raise UsageError(f"--layer {name}: the model has no such layer; {hint}")
    found.check_layout()
    return found


def names_operation(name: str | None) -> bool:
    """Return True if `--layer` may name an operation, whose output must then be recorded."""
    return name is not None and OPERATION.fullmatch(name) is not None


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
        weight = weight_of(node)
        if weight is None:
            continue
        _, word = WEIGHTS[graph.kind_of(node)]
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


@dataclass(frozen=True, eq=False)
class LayerMaker:
    """Makes the layers of one pass of what was found out about it."""

    follower: CellFollower
    recorder: ActivationRecorder | None
    reader: LayoutReader | None

    def __call__(self, name: str, end: GradientEdge, key: tuple[int, int]) -> Layer:
        """Make the layer of a name, whose output lies at this place of the graph."""
        shape = graph.shape_of(end)
        activation = None if self.recorder is None else self.recorder.recorded.get(key)
        if activation is not None and activation.numel() != Size(shape).numel():
            activation = None
        return Layer(
            name,
            end,
            shape,
            None if activation is None else activation.reshape(shape),
            self.follower.cells_at(end),
            self.reader,
        )


def _numbered(places: Sequence[Place], make: LayerMaker) -> Iterator[Layer]:
    calls: Counter[str] = Counter()
    for place in places:
        calls[place.name] += 1
        count = calls[place.name]
        name = place.name if count == 1 else f"{place.name}:{count}"
        yield make(name, place.end, place.key)
