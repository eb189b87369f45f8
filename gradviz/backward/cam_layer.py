"""The layer that Grad-CAM reads if the user names none.

It is the last tensor with a spatial extent that every path from the image to the output passes: a
dominator of the graph. What it holds is all that the output was computed from. In a ResNet that is
the output of the last block, after the addition; a convolution inside of the block is passed by one
path of two. In a transformer whose output is computed from a class token alone, the other tokens of
the last block have no gradient, so the output of the block before it is read.

An output that is a map itself is no evidence for itself: weights must lie between the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from gradviz.backward import graph
from gradviz.backward.layer_outputs import WEIGHTS, weight_of
from gradviz.backward.layers import Layer, Layers, gradients_at
from gradviz.errors import LayerError
from gradviz.text import listed

LOOKED_AT = 4
"""The number of layers whose gradients are computed at once: with a class token, the third fits."""

REASON = "the last map that every path from the image to the output passes"


@dataclass(frozen=True)
class CamLayer:
    """The layer that was chosen."""

    layer: Layer
    reason: str | None
    """The reason for it, for people; None if the user named it."""


@dataclass(frozen=True)
class Passage:
    """A tensor that every path from the image to the output passes."""

    end: GradientEdge
    before: int
    """The number of operations with a weight up to it."""
    behind: int
    """The number of operations with a weight behind it."""


def cam_layer(layers: Layers) -> CamLayer:
    """Choose the layer for Grad-CAM by the graph of a pass.

    Args:
        layers: the layers of the pass, all of whose outputs were recorded.

    Raises:
        LayerError: no layer qualifies; the message says why.
    """
    passed: list[Layer] = []
    for few in _few_at_once(layers):
        partly = [layer for layer in few if not _complete(layer)]
        # Random weights of the outputs: the choice is the model's, and not that of a seed.
        v = torch.randn(layers.y.shape, generator=torch.Generator().manual_seed(0))
        gradients = gradients_at(layers.y, partly, v.to(layers.y))
        for layer in few:
            gradient = gradients.get(layer.name)
            if layer not in partly or (gradient is not None and layer.as_maps(gradient).any()):
                return CamLayer(layer, _reason(passed, _unread(layers, layer)))
            passed.append(layer)
    if passed:  # the output does not depend on the image here, and every picture is blank
        return CamLayer(passed[0], REASON)
    raise LayerError(_why_none(layers))


def _few_at_once(layers: Layers) -> Iterator[list[Layer]]:
    """Yield the maps that qualify in small groups, of which a complete one is the last."""
    few: list[Layer] = []
    for layer in _layers_on_all_paths(layers):
        if not layer.spatial:
            continue
        few.append(layer)
        if _complete(layer) or len(few) == LOOKED_AT:
            yield few
            few = []
    if few:
        yield few


def _complete(layer: Layer) -> bool:
    """Return True if each element of its output lies somewhere in the image: none is left out."""
    assert layer.arrangement is not None
    return torch.Size(layer.shape).numel() == torch.Size(layer.arrangement.map_shape).numel()


def _reason(passed: Sequence[Layer], unread: Sequence[Layer]) -> str:
    reason = REASON
    if passed:
        names = listed([layer.name for layer in passed], LOOKED_AT)
        reason += f" with a gradient at its places: that of {names} is zero but for other tokens"
    if unread:
        names = listed([layer.name for layer in unread], LOOKED_AT)
        reason += (
            f"; what lies where in {names} behind it is not known, and can be said with --layer "
            "and --layout"
        )
    return reason


def _unread(layers: Layers, chosen: Layer) -> list[Layer]:
    """List the layers behind the chosen one that may be maps, but are not known as such."""
    behind = takewhile(lambda each: each is not chosen, _layers_on_all_paths(layers))
    images = layers.x.shape[0]
    return [
        each
        for each in behind
        if each.arrangement is None
        and each.cells is None
        and sum(size > 1 for size in each.shape) - (images > 1) > 1
    ]


def _layers_on_all_paths(layers: Layers) -> Iterator[Layer]:
    """Yield the layers that every path from the image to the output passes, the last one first."""
    named: defaultdict[tuple[Node, int], list[Layer]] = defaultdict(list)
    for layer in layers.values():
        named[layer.end.node, layer.end.output_nr].append(layer)
    operations = {layer.end.node: layer for layer in layers.operations.values()}
    ends: list[GradientEdge] = []
    for passage in passages(layers.y, layers.x):
        ends.insert(0, passage.end)
        if graph.kind_of(passage.end.node) in graph.REARRANGEMENTS:
            continue  # the same values in another order, and so the same place
        if passage.before and (passage.behind or not layers.output_is_map):
            found = _layer_at(ends, named) or operations.get(ends[0].node)
            if found is not None and found.activation is not None:
                yield found
        ends = []


def _layer_at(
    ends: Sequence[GradientEdge], named: dict[tuple[Node, int], list[Layer]]
) -> Layer | None:
    """Find the layer that returns a tensor, or else the first that returns it rearranged.

    A layer with a weight has its own name, which all formats give it. Other tensors have that of
    the outermost block that ends in them.
    """
    for end in ends:
        if found := named.get((end.node, end.output_nr)):
            if graph.kind_of(ends[0].node) in WEIGHTS:
                return found[0]
            return [each for each in found if f"{found[0].name}.".startswith(f"{each.name}.")][-1]
    return None


def passages(y: Tensor, x: Tensor) -> Iterator[Passage]:
    """Yield the tensors that every path from the image to the output passes, the last one first.

    Operations are gone through from the output on, each after all that use it. If all edges that
    are open lead to the same output of the same operation, no path leads around it.

    Args:
        y: the output, with its graph.
        x: the image, a leaf of the graph.
    """
    first, image = graph.edge_of(y), graph.edge_of(x).node
    nodes = graph.nodes_of(y)
    leading = {image}
    for node in nodes:
        if any(before in leading for before, _ in node.next_functions):
            leading.add(node)
    before = sum(weight_of(node) is not None for node in nodes if node in leading)
    behind = 0
    waiting = {first.node: {first.output_nr}}
    for node in reversed(nodes):
        if node not in waiting:
            continue
        number, *others = waiting[node]
        if len(waiting) == 1 and not others:
            yield Passage(GradientEdge(node, number), before, behind)
        del waiting[node]
        for deeper, number in node.next_functions:
            if deeper in leading:
                waiting.setdefault(deeper, set()).add(number)
        if weight_of(node) is not None:
            before, behind = before - 1, behind + 1


def _why_none(layers: Layers) -> str:
    """Say why no layer qualifies, and what can be done."""
    if layers.maps:
        return (
            "no layer is a map that every path from the image to the output passes, as Grad-CAM "
            f"needs it; name one with --layer, such as {listed(layers.maps, LOOKED_AT)}, or use "
            "another --method"
        )
    unknown = [each for each in layers.values() if len(each.shape) > 2 and each.arrangement is None]
    if unknown:
        last = unknown[-1]
        return (
            f"no layer shows which of its elements lies where in the image, such as {last.name} "
            f"{list(last.shape)}: say it with --layer and --layout, or use another --method"
        )
    return "no layer has spatial extent, which Grad-CAM needs; use another --method"
