"""Units that are off: the channels of a map that are zero everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from gradviz.backward.graph import kind_of, users_of
from gradviz.backward.layers import Layer

ZEROES: dict[str, Callable[[Any], Tensor]] = {
    "Relu": lambda node: node._saved_result == 0,
    "Hardtanh": lambda node: (node._saved_self <= 0) & (node._saved_min_val == 0),
    "Hardswish": lambda node: node._saved_self <= -3,
}
"""Activations that put out zeros: bool, True where a unit is off. A `Hardtanh` whose lower bound is
0 is a ReLU6; another one puts out no zeros."""


def dead_units(y: Tensor, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """The channels that are zero everywhere as they leave a layer or the activation behind it.

    The graph of `y` must still hold what it saved, and the layers their outputs. An activation
    counts where it is a row of `ZEROES` and nothing else uses the layer.

    Returns:
        bool [C], of each layer whose output is a map, by name.
    """
    users = users_of(y)
    found = {}
    for layer in layers:
        if not layer.spatial or layer.activation is None:
            continue
        off = layer.activation == 0
        behind = users[layer.end.node]
        if len(behind) == 1 and kind_of(behind[0]) in ZEROES:
            after = ZEROES[kind_of(behind[0])](behind[0])
            if after.shape == layer.shape:
                off = off | after
        found[layer.name] = off.flatten(2).all(2).all(0)
    return found
