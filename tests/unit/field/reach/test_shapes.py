"""The shapes of windows by the table, against those that torch gives, or its refusal."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from gradviz.field.reach.shapes import SHAPES

SIDES = range(1, 6)


def torch_gives(call: Any) -> tuple[int, ...] | None:
    try:
        return tuple(call().shape)
    except RuntimeError:
        return None


@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions(transposed: bool) -> None:
    weight = torch.zeros(2, 2, 3, 2)
    run = F.conv_transpose2d if transposed else F.conv2d
    refused = 0
    for height, width, stride, padding, dilation in product(SIDES, SIDES, (1, 2), (0, 1), (1, 2)):
        x = torch.zeros(1, 2, height, width)
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        given: dict[str, Any] = {
            **{name: [value] * 2 for name, value in options.items()},
            **{"input": x, "weight": weight, "groups": 1, "transposed": transposed},
            "output_padding": [0, 0],
        }
        expected = torch_gives(lambda x=x, options=options: run(x, weight, **options))
        found = SHAPES["convolution"](given)
        assert found == (None if expected is None else [expected]), given
        refused += expected is None
    assert refused > 5


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pooling(ceil_mode: bool) -> None:
    for height, width, stride, padding in product(SIDES, SIDES, (1, 2, 3), (0, 1)):
        x = torch.zeros(1, 2, height, width)
        given: dict[str, Any] = {
            **{"self": x, "kernel_size": [3, 2], "stride": [stride], "padding": [padding]},
            **{"ceil_mode": ceil_mode, "count_include_pad": True},
        }
        expected = torch_gives(
            lambda x=x, stride=stride, padding=padding: F.avg_pool2d(
                x, (3, 2), stride, padding, ceil_mode
            )
        )
        found = SHAPES["avg_pool2d"](given)
        assert found == (None if expected is None else [expected]), given
