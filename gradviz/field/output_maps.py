"""Outputs of rank 3: a map [N, H, W], or rows of numbers [N, L, K] such as tokens and queries.

The forward pass shows which one it is: each element of a map lies where its row and column are. If
it does not show that, a map is told by its sides, which are those of the image, made smaller.
"""

from __future__ import annotations

from torch import Tensor

from gradviz.backward.layers import Layers, run_with_layers
from gradviz.layout import Layout, are_squares
from gradviz.model.model import Model

OTHERWISE = "the pass shows that its elements lie otherwise than in the rows and columns of a map"


def no_map_in(layers: Layers, layout: Layout | None) -> str | None:
    """Find the reason why a model's output [N, L, K] is not a map.

    Args:
        layers: the layers of a pass.
        layout: the layout that was stated; `nchw` says that the output is a map.

    Returns:
        one phrase; None if it is a map, or of another rank.
    """
    if layers.y.dim() != 3:
        return None
    if layers.output.spatial and layers.output.arrangement is not None:
        return None if layers.output.arrangement.rows_last else OTHERWISE
    if layout is not None and layout.kind == "nchw":
        return None
    rows, columns = layers.y.shape[1:]
    height, width = layers.x.shape[2:]
    if are_squares(rows, columns, height, width):
        return None
    return (
        f"it fits two readings, a map of {columns}x{rows} pixels and {rows} rows of {columns} "
        "numbers: the pass does not show which, and the image has other sides (if it is a map, "
        "--layout nchw says so; if it holds boxes, ask for box:N)"
    )


def no_map(model: Model, x: Tensor) -> str | None:
    """Find the reason why a model's output [N, L, K] is not a map, by one more pass.

    Args:
        model: the model.
        x: an input [N, C, H, W].
    """
    x = x.detach().clone().requires_grad_()
    _, layers = run_with_layers(model.module, model, x)
    return no_map_in(layers, model.layout)
