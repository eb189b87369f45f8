"""The rules of relevance: closed forms for each operation, conservation, formats, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import gradviz
from gradviz.backward.relevance.hand_back import HandedBack, hand_back, recorder
from gradviz.backward.rules import BACKWARD_RULES, Way
from gradviz.errors import ModelError
from tests.helpers.formats import models
from tests.helpers.nets import Net

H = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
R = torch.tensor([2.0, -1.0, 4.0, 3.0], dtype=torch.float64)
C = torch.tensor([1.0, 3.0, -1.0, 2.0], dtype=torch.float64)


def back(function: Callable[[Tensor], Tensor], relevance: Tensor) -> HandedBack:
    """Hand relevance back through a function of H.

    A 1x1 convolution of one channel stands before it, as a first layer: its relevance is that of
    its input, for each of its sums has one addend.
    """
    x = H.clone()[None, None].requires_grad_()
    with recorder() as operands:
        y = function(F.conv1d(x, torch.ones(1, 1, 1, dtype=H.dtype))[0, 0])
    return hand_back(y, x, relevance, operands)


def norm_of(relevance: Tensor) -> Tensor:
    """A layer norm of H with weight C and bias 0.5, its deviation a constant."""
    deviation = (H.var(correction=0) + 1e-5).sqrt()
    matrix = C[:, None] * (torch.eye(4) - 0.25) / deviation
    z = matrix @ H + 0.5
    return H * (matrix.T @ (relevance / z))


RR = torch.tensor([5.0, 2.0, -1.0, 4.0, 3.0, 7.0], dtype=torch.float64)
GRID = torch.tensor([[[[-0.5, -1.0], [1.0, 0.0]]]], dtype=torch.float64)
SOFTMAX = H.softmax(0)
FLOOR = torch.tensor([-1, -1, 0, 2.0], dtype=torch.float64)


def copied(there: Tensor, h: Tensor) -> Tensor:
    """Write h into a part of a tensor, as images into a padded batch."""
    there = there.clone()
    there[1:5] = h
    return there


def responding(x: Tensor) -> Tensor:
    """A global response normalisation, as of ConvNeXt V2: each row by its share of the lengths."""
    lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    y: Tensor = x * (lengths / (lengths.mean(0, keepdim=True) + 1e-6))
    return y


CLOSED: dict[str, tuple[Callable[[Tensor], Tensor], Tensor, Tensor]] = {
    "a sum": (lambda h: h.sum(), torch.tensor(5.0), H / 2.5 * 5),
    "a mean": (lambda h: h.mean(), torch.tensor(5.0), H / 2.5 * 5),
    "an average": (
        lambda h: F.avg_pool1d(h[None, None], 2)[0, 0],
        R[:2],
        torch.stack([H[0] / -1 * 2, H[1] / -1 * 2, H[2] / 3.5 * -1, H[3] / 3.5 * -1]),
    ),
    "an added constant": (lambda h: h + C, R, H / (H + C) * R),
    "in place": (lambda h: h.clone().add_(C), R, H / (H + C) * R),
    "a constant less": (lambda h: R - h, torch.ones(4), -H / (R - H)),
    "a number less": (lambda h: torch.rsub(h, 4), R, -H / (4 - H) * R),
    "a skip": (lambda h: h + 2 * h.relu(), R, R),
    "a factor": (lambda h: C * h / 7, R, R),
    "relu": (lambda h: h.relu(), R, R),
    "gelu": (lambda h: F.gelu(h), R, R),
    "silu": (lambda h: F.silu(h), R, R),
    "sigmoid": (lambda h: h.sigmoid(), R, R),
    "clamp": (lambda h: h.clamp(-1, 1), R, R),
    "a square": (lambda h: h * h, R, R),
    "a power": (lambda h: h**3, R, R),
    "a root of the size": (lambda h: h.abs().sqrt(), R, R),
    "a logarithm": (lambda h: (h.abs() + 0).log().exp(), R, R),
    "a quotient": (lambda h: C / h, R, R),
    "a length": (lambda h: torch.linalg.vector_norm(h), R[:1].sum(), H**2 / (H**2).sum() * R[0]),
    "a product that is added": (
        lambda h: torch.addcmul(C, C, h),
        R,
        C * H / (C + C * H) * R,
    ),
    "both factors of a product that is added": (
        lambda h: torch.addcmul(h[:2], h[:2], h[2:], value=2.0),
        R[:2],
        torch.cat([(H[:2] + H[:2] * H[2:]), H[:2] * H[2:]])
        / (H[:2] + 2 * H[:2] * H[2:]).repeat(2)
        * R[:2].repeat(2),
    ),
    "global response normalisation": (
        lambda h: responding(h.view(2, 2)).flatten(),
        R,
        R / 2
        + H**2
        / (H.view(2, 2) ** 2).sum(1).repeat_interleave(2)
        * R.view(2, 2).sum(1).repeat_interleave(2)
        / 2,
    ),
    "a copy into a part of zeros": (lambda h: copied(torch.zeros(6).double(), h), RR, RR[1:5]),
    "a copy into a part of values": (
        lambda h: copied(torch.cat([h, C]), h),
        torch.cat([RR, R[:2]]),
        torch.stack([RR[0] + RR[1], *RR[2:5]]),
    ),
    "samples between the places of a map": (
        lambda h: F.grid_sample(
            h.view(1, 1, 2, 2), GRID + 0 * h.sum(), align_corners=True
        ).flatten(),
        R[:2],
        # 0.75·1 + 0.25·(−2) = 0.25 and 0.5·(−2) + 0.5·0.5 = −0.75
        torch.tensor([0.75 / 0.25 * 2, -0.5 / 0.25 * 2 + -1 / -0.75 * -1, 0, 0.25 / -0.75 * -1]),
    ),
    "overlapping windows": (
        lambda h: F.fold(h.view(1, 2, 2), (1, 3), (1, 2)).flatten(),
        R[:3],
        torch.stack([R[0], H[1] / (H[1] + H[2]) * R[1], H[2] / (H[1] + H[2]) * R[1], R[2]]),
    ),
    "a product": (lambda h: h[:2] * h[2:], R[:2], torch.cat([R[:2], R[:2]]) / 2),
    "a product of matrices": (
        lambda h: h[None, :2] @ h[2:, None],
        torch.tensor([[4.0]]),
        torch.tensor([1 * 3, -2 * 0.5, 1 * 3, -2 * 0.5]) / 2 * 4 / 2,
    ),
    "a gated linear unit": (lambda h: F.glu(h), R[:2], torch.cat([R[:2], R[:2]]) / 2),
    "a linear layer": (
        lambda h: F.linear(h[None], torch.stack([C, R]), torch.tensor([1.0, -2]).double())[0],
        R[:2],
        H * (C * 2 / (C @ H + 1) + R * -1 / (R @ H - 2)),
    ),
    "the largest": (lambda h: h.amax(), torch.tensor(5.0), torch.tensor([0, 0, 5.0, 0])),
    "the larger": (lambda h: torch.maximum(h, FLOOR), R, torch.tensor([2.0, 0, 4, 0])),
    "a mask": (lambda h: h.masked_fill(FLOOR < 0, 0), R, torch.tensor([0, 0, 4.0, 3])),
    "beside constants": (lambda h: torch.cat([C, h.flip(0)]), torch.cat([C, R]), R.flip(0)),
    "softmax": (lambda h: h.softmax(0), R, H * (R - SOFTMAX * R.sum())),
    "softmax of a mask": (
        lambda h: h.masked_fill(FLOOR < 0, -math.inf).softmax(0),
        R,
        torch.cat([torch.zeros(2), H[2:] * (R[2:] - H[2:].softmax(0) * R.sum())]),
    ),
    "layer norm": (lambda h: F.layer_norm(h, (4,), C, torch.full_like(C, 0.5)), R, norm_of(R)),
    "group norm": (
        lambda h: F.group_norm(h[None], 1, C, torch.full_like(C, 0.5))[0],
        R,
        norm_of(R),
    ),
    "instance norm": (
        lambda h: F.instance_norm(h[None, None], eps=1e-5)[0, 0],
        R,
        H * ((torch.eye(4).double() - 0.25) @ (R / (H - H.mean()))),
    ),
    "root mean square norm": (lambda h: F.rms_norm(h, (4,), C), R, R),
    "length one": (lambda h: F.normalize(h, dim=0), R, R),
    "layer norm written out": (
        lambda h: (h - h.mean()) / ((h - h.mean()).pow(2).mean() + 1e-5).sqrt() * C + 0.5,
        R,
        norm_of(R),
    ),
    "batch norm by itself": (
        lambda h: F.batch_norm(h.relu()[None], C, C.abs(), C, C)[0],
        R,
        R,
    ),
    "a mean, channels last": (
        lambda h: F.adaptive_avg_pool2d(
            h.view(1, 1, 2, 2).expand(1, 2, 2, 2).contiguous(memory_format=torch.channels_last), 1
        ).flatten(),
        torch.tensor([5.0, 10]),
        H / 2.5 * 15,
    ),
    "enlarged": (
        lambda h: F.interpolate(h[None, None], scale_factor=2)[0, 0],
        torch.cat([R, R]),
        torch.cat([R, R]).view(4, 2).sum(1),
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name: str) -> None:
    function, given, expected = CLOSED[name]
    found = back(function, given.double())
    torch.testing.assert_close(found.relevance[0, 0], expected.double(), rtol=1e-4, atol=1e-6)
    whole = float(found.relevance.sum()) + sum(found.absorbed.values())
    assert whole == pytest.approx(float(given.sum()), rel=1e-9)


def test_what_absorbs_relevance_is_told_apart() -> None:
    constants = float((C / (H + C) * R).sum())
    assert back(lambda h: h + C, R).absorbed["constants"] == pytest.approx(constants, rel=1e-5)
    softmax = float((R - H * (R - SOFTMAX * R.sum())).sum())
    assert back(lambda h: h.softmax(0), R).absorbed["softmax"] == pytest.approx(softmax, rel=1e-5)
    bias = 2.0 * 9 / (float(C @ H) + 9)
    layer = back(lambda h: F.linear(h[None], C[None], torch.tensor([9.0]).double()), R[:1, None])
    assert layer.absorbed["biases"] == pytest.approx(bias, rel=1e-5)
    # 3 · 1e-7 is a third of what the divisor of 1e-7 is moved away from zero by.
    small = back(lambda h: (h * 1e-7).sum(), torch.tensor(3.0))
    assert small.absorbed["epsilon"] == pytest.approx(3 * (1 - 2.5e-7 / 1.25e-6), rel=1e-5)
    for found in (layer, small):
        assert sum(map(bool, np.round([*found.absorbed.values()], 4))) == 1


def test_before_the_first_layer_relevance_is_not_shared_by_values() -> None:
    """At x = mean, the share of x would be nothing, and beside it without bounds."""
    net = nn.Conv1d(1, 1, 1).double()
    x = torch.tensor([0.5, 0.6, 0.4, 0.9]).double()[None, None].requires_grad_()
    with recorder() as operands:
        y = net.requires_grad_(False)(F.avg_pool1d((x - 0.5) / 0.2, 2))
    found = hand_back(y, x, torch.tensor([[[2.0, 6.0]]]), operands).relevance
    torch.testing.assert_close(found, torch.tensor([[[1.0, 1, 3, 3]]]).double(), rtol=1e-5, atol=0)


class Attention(nn.Module):
    """Patches, a class token, positions, attention, norms, a gated channel: what has a rule."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 5, 8))
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.gate = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.positions
        q, k, v = (
            self.qkv(self.norm(tokens)).view(len(x), 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        )
        a = F.scaled_dot_product_attention(q, k, v)
        tokens = tokens + F.gelu(self.out(a.transpose(1, 2).reshape(len(x), 5, 8)))
        tokens = tokens * torch.sigmoid(self.gate(tokens.mean(1, keepdim=True)))
        y: Tensor = self.head(self.norm(tokens)[:, 0])
        return y


@pytest.fixture
def picture() -> Tensor:
    return torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(3))


def found_in(model: Any, picture: Tensor, seed: str = "class:1") -> Any:
    (found,) = gradviz.saliency(model, picture, seed, method="lrp")
    assert found.array.any() and not found.warnings
    return found


def test_every_format_gives_the_same(picture: Tensor, tmp_path: Path) -> None:
    names = ("scripted.ts", "traced.ts", "frozen.ts", "frozen_trace.ts", "program.pt2")
    loaded = models(Attention().eval(), picture[None], tmp_path, *names)
    expected = found_in(loaded.pop("eager"), picture)
    for name, model in loaded.items():
        for _ in range(3):  # TorchScript rewrites its code after the first call, if it is let
            found = found_in(model, picture)
            np.testing.assert_allclose(found.array, expected.array, rtol=1e-3, atol=1e-6)
            assert found.absorbed == pytest.approx(expected.absorbed, rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("masked", ["not", "causal", "by numbers", "by truth"])
def test_fused_attention_is_its_parts(masked: str) -> None:
    torch.manual_seed(1)
    numbers = torch.randn(4, 4, dtype=torch.float64)
    masks: dict[str, dict[str, Any]] = {
        "not": {},
        "causal": {"is_causal": True},
        "by numbers": {"attn_mask": numbers},
        "by truth": {"attn_mask": (numbers > 0) | torch.eye(4).bool()},
    }
    weights = torch.randn(3, 1, 2, 1, 5, dtype=torch.float64)

    def attend(h: Tensor) -> Tensor:
        q, k, v = (h[:, None] * w + 0.1 * h.flip(0)[:, None] for w in weights)
        return F.scaled_dot_product_attention(q, k, v, **masks[masked])

    with sdpa_kernel(SDPBackend.MATH):
        relevance = attend(H)
        parts = back(attend, relevance)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        fused = back(attend, relevance)
    torch.testing.assert_close(fused.relevance, parts.relevance, rtol=1e-4, atol=1e-6)
    assert fused.absorbed == pytest.approx(parts.absorbed, rel=1e-4, abs=1e-5)
    assert parts.absorbed["softmax"]


def test_relevance_at_a_layer(picture: Tensor) -> None:
    """The relevance of the patches goes to the pixels of each evenly."""
    net = gradviz.wrap(Attention().eval(), precision="float64")
    (layer,) = gradviz.saliency(net, picture, "class:1", method="lrp", layer="patches")
    (pixels,) = gradviz.saliency(net, picture, "class:1", method="lrp")
    assert [*layer.beside] == ["activation"]
    assert layer.absorbed is None and layer.conservation is None
    spread = np.repeat(np.repeat(layer.array.sum(0), 4, 0), 4, 1) / 48
    np.testing.assert_allclose(pixels.array, np.broadcast_to(spread, (3, 8, 8)), rtol=1e-4)


def test_images_have_relevance_of_their_own(picture: Tensor, tmp_path: Path) -> None:
    for n, image in enumerate((picture, picture.flip(-1))):
        numbers = (255 * image).byte().permute(1, 2, 0).numpy()
        Image.fromarray(numbers).save(tmp_path / f"{n}.png")
    net = Attention().eval()
    together = gradviz.saliency(net, tmp_path, "top", method="lrp")
    for n, found in enumerate(together):
        (alone,) = gradviz.saliency(net, tmp_path / f"{n}.png", "top", method="lrp")
        assert found.absorbed == alone.absorbed
        np.testing.assert_array_equal(found.array, alone.array)


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def overwritten(h: Tensor) -> Tensor:
    h = h.clone()
    h[1:] *= 2
    return h


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a median": (lambda h: h.median(), "median"),
    "an angle": (lambda h: torch.atan2(h, h.abs()), "atan2"),
    "a quotient": (lambda h: h.exp() / h, "div by what depends on the image"),
    "another's size": (lambda h: h / h.exp().sum(), "div by what depends on the image"),
    "a size of its own place": (lambda h: h / h.abs().sqrt(), "div by what depends on the image"),
    "a function of its own": (lambda h: _Own.apply(h), "_own"),  # type: ignore[no-untyped-call]
    "a write": (overwritten, "a write into a part of a tensor"),
    "a weight": (
        lambda h: F.conv1d(C[None, None], h[None, None]),
        "convolution by a weight that depends on the image",
    ),
    "two bounds": (lambda h: F.prelu(h, h.sum()), "preluk.* of several values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_name(name: str) -> None:
    function, named = REFUSED[name]
    with pytest.raises(ModelError, match=f"no rule for {named}"):
        back(function, torch.ones(()))


def test_an_operation_that_no_relevance_reaches_needs_no_rule() -> None:
    """Of a detector, the scores can be asked for if the sides of its boxes are powers."""
    seeded = torch.cat([R, torch.zeros(4)])
    found = back(lambda h: torch.cat([h.relu(), h.sinh()]), seeded)
    torch.testing.assert_close(found.relevance[0, 0], R, rtol=1e-5, atol=0)
    with pytest.raises(ModelError, match="no rule for sinh:"):
        back(lambda h: torch.cat([h.relu(), h.sinh()]), seeded.flip(0))


def test_a_model_without_weights_has_no_layers_to_go_through() -> None:
    with pytest.raises(ModelError, match="no layer with a weight"):
        gradviz.saliency(Net(lambda x: x.relu()), torch.rand(1, 4, 4), "ones", method="lrp")


def test_float16_has_too_small_a_range() -> None:
    y = torch.ones(1, 2, dtype=torch.float16)
    with pytest.raises(ModelError, match="range of float16"):
        BACKWARD_RULES["lrp"].pull(Way(y, y, recorder()), y, False)


def test_what_float32_cannot_add_up_is_warned_of() -> None:
    """Two large contributions of opposite sign, beside which a small one is rounded."""

    def cancel(x: Tensor) -> Tensor:
        h = F.conv1d(x[:, 0], torch.ones(1, 1, 1))
        return (h * torch.tensor([1e9, 40, -1e9])).sum(-1)

    image = torch.ones(1, 1, 3)
    (found,) = gradviz.saliency(Net(cancel), image, "class:0", method="lrp")
    assert found.conservation is not None and abs(found.conservation) > 0.01 * abs(found.score)
    assert any("miss the score" in warning for warning in found.warnings)
