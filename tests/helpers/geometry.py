"""The geometry of a module, measured on noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gradviz.field.geometry import Geometry, measure_geometries
from gradviz.field.probe import Probe
from gradviz.model.load import wrap


def geometry(
    module: nn.Module,
    names: Sequence[str | None] = (None,),
    fixed: tuple[int, int] | None = None,
) -> list[Geometry]:
    """Measure the geometry of the output, or of layers, at the size `fixed` or at any."""
    model = wrap(module)
    return measure_geometries(
        lambda size: Probe(model, torch.rand(3, *reversed(size))), names, fixed=fixed
    )
