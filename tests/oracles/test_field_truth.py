"""Claimed geometry against the truth: which columns of the input change an output pixel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gradviz
from gradviz.field.axis import Axis
from gradviz.field.geometry import measure_geometries
from gradviz.field.probe import Probe
from tests.helpers import windowed_nets as windowed

FAR = 1e60
"""Added to columns; whatever comes of it is seen beside a number of 16 digits."""


def ends(net: nn.Module, length: int, axis: int, outputs: list[int]) -> list[tuple[int, int]]:
    """The first and the last input column (axis 0) or row (1) that changes each output column, by
    bisection, in doubles: change everything before a column, or everything from it on."""
    shape = (64, length) if axis == 0 else (length, 64)
    x = torch.rand(1, 3, *shape, dtype=torch.float64)

    def look(changed: Tensor) -> Tensor:
        """Whether output i changes where the columns changed[i] do."""
        found = []
        for i, columns in zip(outputs, changed, strict=True):
            view = columns if axis == 0 else columns[:, None]
            y = net(x + FAR * view.double())
            found.append((y != here).movedim(-1 - axis, 0)[i].any())
        return torch.stack(found)

    with torch.no_grad():
        here = net(x)
        places = torch.arange(length)
        low, high = (torch.full([len(outputs)], n) for n in (-1, length - 1))
        first, last = (low, high), (low.clone(), high.clone())
        for _ in range(length.bit_length()):
            middle = (first[0] + first[1]) // 2
            seen = look(places <= middle[:, None])
            first = torch.where(seen, first[0], middle), torch.where(seen, middle, first[1])
            middle = (last[0] + last[1]) // 2
            seen = look(places > middle[:, None])
            last = torch.where(seen, middle, last[0]), torch.where(seen, last[1], middle)
    return list(zip(first[1].tolist(), last[1].tolist(), strict=True))


def claimed(net: nn.Module) -> tuple[Axis | None, Axis | None]:
    model = gradviz.wrap(net)
    (found,) = measure_geometries(lambda size: Probe(model, torch.rand(3, *reversed(size))), [None])
    return found.x, found.y


@pytest.mark.parametrize("name", windowed.NETS)
def test_no_claim_is_wrong(name: str) -> None:
    torch.manual_seed(0)
    net = windowed.NETS[name]().eval()
    geometry = claimed(net)
    net = windowed.positive(net)
    for number, axis in enumerate(geometry):
        assert axis is not None
        length = 448 * max(1, -(-(2 * axis.size + 2 * axis.shift) // 448))
        start = round(length // 2 / axis.stride)
        outputs = list(range(start, start + len(axis.first)))[:: max(1, len(axis.first) // 6)]
        found = ends(net, length, number, outputs)
        assert found == [axis.extent(i) for i in outputs], outputs


def test_there_are_enough_networks() -> None:
    assert len(windowed.NETS) >= 58
