"""Two ways to find out by forward passes alone what can matter, and what gradviz finds.

Both are slow and know nothing of gradients. NaN at one element of the input reaches every output
that has a coefficient for it, be it zero, unless an operation hides NaN. A change of one element
changes the outputs that it matters to, unless a coefficient is zero or a selection falls elsewhere:
so weights and images are drawn anew many times.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradviz.field.dependence.propagate import propagate
from gradviz.field.dependence.trace import DependenceTrace

Call = Callable[[Tensor], Tensor]


def structural(call: Call, x: Tensor) -> tuple[Tensor, set[str]]:
    """[outputs, inputs], which output can look at which input, and what makes that partial."""
    x = x.clone().requires_grad_()
    with DependenceTrace() as dependence:
        y = call(x)
    assert not dependence.random
    partial = set(dependence.selections)
    rows = []
    for output in range(y.numel()):
        asked = torch.zeros(y.shape, dtype=torch.bool)
        asked.view(-1)[output] = True
        found = propagate(y, x, asked)
        partial.update(found.lost_at)
        rows.append(found.tainted.flatten())
    return torch.stack(rows), partial


def nan_probed(call: Call, x: Tensor) -> Tensor:
    """[outputs, inputs]: where NaN at an input comes out."""
    columns = []
    for place in range(x.numel()):
        probe = x.clone()
        probe.view(-1)[place] = math.nan
        with torch.no_grad():
            columns.append(call(probe).isnan().flatten())
    return torch.stack(columns, 1)


def perturbed(call: Call, x: Tensor, trials: int = 30) -> Tensor:
    """[outputs, inputs]: which outputs an input changed, for random images and weights."""
    parameters = list(call.parameters()) if isinstance(call, nn.Module) else []
    kept = [parameter.detach().clone() for parameter in parameters]
    found: Tensor | bool = False
    with torch.no_grad():
        for trial in range(trials):
            for parameter in parameters:
                parameter.normal_()
            image = torch.randn_like(x) * (0.3, 1, 3)[trial % 3]
            before = call(image)
            columns = []
            for place in range(x.numel()):
                probe = image.clone()
                probe.view(-1)[place] += (1, 9)[trial % 2] * torch.randn(())
                after = call(probe)
                same = (after == before) | (after.isnan() & before.isnan())
                columns.append(~same.flatten())
            found = torch.stack(columns, 1) | found
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    assert isinstance(found, Tensor)
    return found
