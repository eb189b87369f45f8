"""The gradients of losses at the output, against torch's own losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gradviz.errors import SeedError
from gradviz.seeds.places import Part, Site
from gradviz.seeds.seed import parse_seed


@pytest.mark.parametrize("name, loss", [("mse", F.mse_loss), ("l1", F.l1_loss)])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_of_a_target(name: str, loss: object, shape: tuple[int, ...], tmp_path: Path) -> None:
    assert callable(loss)
    y = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "t.npy", target)
    (expected,) = torch.autograd.grad(loss(y, torch.from_numpy(target)), y)
    seed = parse_seed(f"loss:{name}={tmp_path}/t.npy")
    torch.testing.assert_close(seed.cotangent(y.detach(), Site()), expected)
    exact = loss(y.detach().double(), torch.from_numpy(target).double())
    assert seed.loss(y.detach(), Site()) == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize("shape", [(5,), (5, 3, 4)])
def test_of_a_class(shape: tuple[int, ...]) -> None:
    y = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.full((1, *shape[1:]), 2)
    (expected,) = torch.autograd.grad(F.cross_entropy(y[None], labels), y)
    seed = parse_seed("loss:ce=2")
    torch.testing.assert_close(seed.cotangent(y.detach(), Site()), expected)
    exact = F.cross_entropy(y[None].detach().double(), labels)
    assert seed.loss(y.detach(), Site()) == pytest.approx(float(exact), rel=1e-12)


def test_the_losses_of_parts_add_up(tmp_path: Path) -> None:
    y = torch.randn((2, 6, 8), generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "t.npy", np.zeros((2, 6, 8), np.float32))
    for spec in (f"loss:mse={tmp_path}/t.npy", f"loss:l1={tmp_path}/t.npy", "loss:ce=1"):
        seed, total = parse_seed(spec), 0.0
        for x0, y0, x1, y1 in ((0, 0, 3, 6), (3, 0, 8, 2), (3, 2, 8, 6)):
            part = Site(part=Part((x0, y0, x1, y1), (8, 6)))
            total += seed.loss(y[:, y0:y1, x0:x1], part) or 0.0
        assert total == pytest.approx(seed.loss(y, Site()), rel=1e-12)


def test_the_loss_of_a_sum_is_that_of_its_terms() -> None:
    y = torch.randn(5, generator=torch.Generator().manual_seed(0))
    one, two = (-float(y.double().log_softmax(0)[k]) for k in (1, 2))
    assert parse_seed("loss:ce=1 - 0.5*loss:ce=2").loss(y, Site()) == pytest.approx(one - two / 2)
    assert parse_seed("loss:ce=1 + class:2").loss(y, Site()) is None
    assert parse_seed("top").loss(y, Site()) is None


def test_a_class_that_the_model_excludes_elsewhere() -> None:
    y = torch.tensor([0.0, 0.0, -torch.inf])
    assert parse_seed("loss:ce=0").loss(y, Site()) == pytest.approx(float(np.log(2)))
    assert parse_seed("loss:ce=2").loss(y, Site()) == torch.inf


def test_a_folder_has_a_target_for_each_image(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    np.save(tmp_path / "a.npy", np.full((2, 2), 1.0))
    torch.save(torch.full((1, 2, 2), 3.0), tmp_path / "deep" / "b.PT")
    (tmp_path / "a.txt").write_text("not a target")
    seed, y = parse_seed(f"loss:l1={tmp_path}"), torch.zeros(1, 2, 2)
    assert seed.for_image("a.png").loss(y, Site()) == 1
    assert seed.for_image("deep/b.jpg").loss(y, Site()) == 3
    files = seed.files(["a.png", "deep/b.jpg", "a.jpg"])
    assert files == [tmp_path / "a.npy", tmp_path / "deep" / "b.PT"]


def test_an_image_without_one_target_is_named(tmp_path: Path) -> None:
    for name in ("a.npy", "a.pt"):
        (tmp_path / name).write_bytes(b"no array")
    (tmp_path / "c.npy").write_bytes(b"no array")
    seed = parse_seed(f"loss:l1={tmp_path}")
    for image, says in (
        ("a.png", "a.npy and a.pt could each be the target of a.png; keep one"),
        ("b.png", "no target for b.png; expected b with the suffix .npy, .pt, .pth, .safetensors"),
        ("c.png", "c.npy: not an array"),
    ):
        with pytest.raises(SeedError) as refusal:
            seed.for_image(image)
        assert str(refusal.value).startswith(f"seed loss:l1={tmp_path}: {tmp_path}")
        assert says in str(refusal.value)
