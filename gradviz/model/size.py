"""How much a model has learned: the numbers that it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from gradviz.model.model import Model
from gradviz.support import Format


def size_of(model: Model) -> dict[str, int]:
    """`count` and `bytes` of the parameters, as loaded; each that is shared counts once.

    Of a frozen TorchScript, they are the floating constants of its code; of batch norms that were
    not folded into convolutions, these include the running statistics.
    """
    frozen = model.format is Format.FROZEN
    weights = list(_constants(model.module) if frozen else model.module.parameters())
    return {
        "count": sum(weight.numel() for weight in weights),
        "bytes": sum(weight.numel() * weight.element_size() for weight in weights),
    }


def _constants(module: nn.Module) -> Iterator[Tensor]:
    # The graph must outlive its nodes, so it has a name.
    graph: Any = module.inlined_graph
    for node in graph.findAllNodes("prim::Constant"):
        value = node.output().toIValue() if node.output().type().kind() == "TensorType" else None
        if isinstance(value, Tensor) and value.is_floating_point():
            yield value
