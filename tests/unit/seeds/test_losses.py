"""The gradients of losses at the output, against torch's own losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gradviz.seeds.places import Site
from gradviz.seeds.seed import parse_seed


@pytest.mark.parametrize("name, loss", [("mse", F.mse_loss), ("l1", F.l1_loss)])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_of_a_target(name: str, loss: object, shape: tuple[int, ...], tmp_path: Path) -> None:
    assert callable(loss)
    y = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "t.npy", target)
    (expected,) = torch.autograd.grad(loss(y, torch.from_numpy(target)), y)
    found = parse_seed(f"loss:{name}={tmp_path}/t.npy").cotangent(y.detach(), Site())
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(5,), (5, 3, 4)])
def test_of_a_class(shape: tuple[int, ...]) -> None:
    y = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.full((1, *shape[1:]), 2)
    (expected,) = torch.autograd.grad(F.cross_entropy(y[None], labels), y)
    found = parse_seed("loss:ce=2").cotangent(y.detach(), Site())
    torch.testing.assert_close(found, expected)
