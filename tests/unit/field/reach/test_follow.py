"""Operations that are followed: their fields are known by arithmetic, without measuring."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gradviz.field.axis import Axis
from gradviz.field.geometry import follow_axis
from gradviz.model.load import wrap
from tests.helpers.nets import Net


def unfolded(x: Tensor) -> Tensor:
    """The windows of 3×2 about each pixel, side by side."""
    height, width = x.shape[-2:]
    y = F.unfold(F.pad(x, [0, 1, 0, 0]), (3, 2), padding=(1, 0))
    return y.view(len(x), -1, height, width)


def unbound(x: Tensor) -> Tensor:
    """Neighbours in the second axis added up, of which each is taken out by itself."""
    first, *others = F.avg_pool2d(x, (3, 2), 1).unbind(1)
    return (first + others[0] + others[1])[:, None]


def split(x: Tensor) -> Tensor:
    one, other = torch.split(F.avg_pool2d(x, (3, 2), 1), [1, 2], 1)
    y: Tensor = one + other
    return y


def normed(x: Tensor) -> Tensor:
    """By running statistics, by the operator that exported programs have."""
    ones = torch.ones(3, dtype=x.dtype, device=x.device)
    norm = torch.ops.aten._native_batch_norm_legit_no_training
    y: Tensor = norm(F.avg_pool2d(x, (3, 2), 1), ones, ones, ones, ones, 0.1, 1e-5)[0]
    return y


FIELDS: dict[Callable[[Tensor], Tensor], tuple[Axis, Axis]] = {
    unfolded: (Axis((0,), (1,), 1), Axis((-1,), (1,), 1)),
    **dict.fromkeys((unbound, split, normed), (Axis((0,), (1,), 1), Axis((0,), (2,), 1))),
}


@pytest.mark.parametrize("forward", FIELDS)
def test_its_field_is_followed(forward: Callable[[Tensor], Tensor]) -> None:
    model = wrap(Net(forward))
    for axis in (0, 1):
        assert follow_axis(model, 3, axis, [None]) == {None: FIELDS[forward][axis]}
