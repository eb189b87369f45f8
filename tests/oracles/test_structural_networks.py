"""The structural rule on whole networks: random ones, dead ones, large ones, in every format."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from gradviz.field.dependence.propagate import Propagation, propagate
from gradviz.field.dependence.trace import DependenceTrace
from gradviz.model.model import Model
from tests.helpers.formats import models
from tests.helpers.probing import nan_probed

Call = Callable[[Tensor], Tensor]


def field(call: Call, x: Tensor, *place: int) -> Propagation:
    """What output `[..., *place]` can look at, all channels of it."""
    x = x.clone().requires_grad_()
    with DependenceTrace() as dependence:
        y = call(x)
    assert not dependence.selections and not dependence.random
    asked = torch.zeros(y.shape, dtype=torch.bool)
    index: tuple[Any, ...] = (..., *place)
    asked[index] = True
    return propagate(y, x, asked)


# Random networks ------------------------------------------------------------------------------

WIDTH = 2


@dataclass(frozen=True)
class Step:
    """One layer of a random network, and how its result meets an earlier one."""

    kind: str
    kernel: int
    stride: int
    dilation: int
    groups: int
    joined: str
    earlier: int


STEPS = st.builds(
    Step,
    kind=st.sampled_from(["conv", "transposed", "max", "avg", "up", "bilinear", "norm", "shuffle"]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, WIDTH]),
    joined=st.sampled_from(["", "add", "multiply", "cat", "maximum"]),
    earlier=st.integers(0, 10),
)


class Random(nn.Module):
    """[1, WIDTH, H, W] -> [1, WIDTH, h, w] in the given steps; a third of the weights are zero."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(self.layer(step) for step in steps)
        self.mixers = nn.ModuleList(nn.Conv2d(2 * WIDTH, WIDTH, 1) for _ in steps)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_().mul_(torch.rand_like(parameter) > 1 / 3)
        self.eval().requires_grad_(False)

    @staticmethod
    def layer(step: Step) -> nn.Module:
        k, s, d, g = step.kernel, step.stride, step.dilation, step.groups
        rows: dict[str, Callable[[], nn.Module]] = {
            "conv": lambda: nn.Conv2d(WIDTH, WIDTH, k, s, d * (k - 1) // 2, d, g),
            "transposed": lambda: nn.ConvTranspose2d(WIDTH, WIDTH, k, s, 0, 0, g, dilation=d),
            "max": lambda: nn.MaxPool2d(k, s, k // 2, d, ceil_mode=g == 1),
            "avg": lambda: nn.AvgPool2d(k, s, k // 2, ceil_mode=g == 1),
            "up": lambda: nn.Upsample(scale_factor=s),
            "bilinear": lambda: nn.Upsample(scale_factor=1.5, mode="bilinear"),
            "norm": lambda: nn.BatchNorm2d(WIDTH),
            "shuffle": lambda: nn.Sequential(
                nn.Conv2d(WIDTH, 4 * WIDTH, k, groups=g, padding=k // 2), nn.PixelShuffle(2)
            ),
        }
        return rows[step.kind]()

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for step, layer, mixer in zip(self.steps, self.layers, self.mixers, strict=True):
            new = F.relu(layer(maps[-1]))[..., :12, :12]
            old = maps[step.earlier % len(maps)]
            h, w = min(new.shape[-2], old.shape[-2]), min(new.shape[-1], old.shape[-1])
            match step.joined:
                case "add":
                    new = new[..., :h, :w] + old[..., :h, :w]
                case "multiply":
                    new = new[..., :h, :w] * old[..., -h:, -w:]
                case "cat":
                    new = mixer(torch.cat([new[..., :h, :w], old[..., :h, :w]], 1))
                case "maximum":
                    new = torch.maximum(new[..., -h:, -w:], old[..., :h, :w])
            if min(new.shape[-2:]) >= 4:
                maps.append(new)
        return maps[-1] * 1.0


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=7), seed=st.integers(0, 2**31))
def test_random_networks(steps: list[Step], seed: int) -> None:
    """Exact: what NaN at an input reaches. Sound: no gradient outside it. Whatever the image.

    NaN also passes the neighbours of an interpolation whose coefficient is zero.
    """
    exact = all(step.kind != "bilinear" for step in steps)
    torch.manual_seed(seed)
    network = Random(steps)
    x = torch.randn(1, WIDTH, 7, 6)
    probed = nan_probed(network, x)
    y = network(x)
    outputs = torch.randint(0, y.numel(), (4,)).tolist()
    for output in outputs:
        place = [int(index) for index in torch.unravel_index(torch.tensor(output), y.shape)]
        found = field(network, x, *place)
        assert found.lost_at == ()
        tainted = found.tainted.flatten()
        assert (tainted == probed[output]).all() if exact else not (tainted & ~probed[output]).any()
        other = torch.randn_like(x).requires_grad_()
        gradient = torch.autograd.grad(network(other).flatten()[output], other)[0]
        assert not ((gradient != 0) & ~found.tainted).any()
        assert (field(network, torch.full_like(x, 1e4), *place).tainted == found.tainted).all()


# Dead and singular ones -----------------------------------------------------------------------


def test_a_dead_network_keeps_its_field() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3))
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    found = field(network, torch.rand(1, 1, 9, 9), 2, 3)
    assert found.tainted[0, 0].nonzero().min(0)[0].tolist() == [2, 3]
    assert found.tainted[0, 0].nonzero().max(0)[0].tolist() == [6, 7]
    assert found.tainted.sum() == 25


@pytest.mark.parametrize(
    "singular",
    [
        torch.sqrt,
        torch.rsqrt,
        torch.log,
        torch.reciprocal,
        lambda x: x / x,
        lambda x: x**0.5,
        lambda x: x.norm(dim=1, keepdim=True),
        lambda x: x.std(1, keepdim=True),
        lambda x: x.prod(1, keepdim=True),
        lambda x: torch.atan2(x, x),
        lambda x: (x * -math.inf).softmax(1),
        lambda x: F.layer_norm(x.movedim(1, -1), (2,), eps=0).movedim(-1, 1),
    ],
)
def test_what_is_not_finite_does_not_spread(singular: Call) -> None:
    """At an image of zeros, where slopes are infinite or no numbers at all."""
    found = field(lambda x: singular(F.pad(x, (1, 1, 1, 1))), torch.zeros(1, 2, 4, 4), 2, 2)
    expected = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    expected[..., 1, 1] = True
    assert (found.tainted == expected).all()


# Large ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {"padding": 1}),
        (1, {}),
        (3, {"padding": 1, "groups": 64}),
        (3, {"padding": 4, "dilation": 4}),
        (7, {"padding": 3, "stride": 2}),
    ],
)
def test_large_convolutions(kernel: int, options: dict[str, int], dtype: torch.dtype) -> None:
    """What makes backends change their algorithm does not change the field: a closed form."""
    size, place = 128, 30
    layer = nn.Conv2d(64, 64, kernel, **options).to(dtype)  # type: ignore[arg-type]
    x = torch.rand(1, 64, size, size, dtype=dtype)
    found = field(layer.requires_grad_(False), x, 5, place, place).tainted[0]
    step, spread = options.get("stride", 1), options.get("dilation", 1)
    touched = [place * step - options.get("padding", 0) + spread * k for k in range(kernel)]
    expected = torch.zeros(64, size, size, dtype=torch.bool)
    for row in touched:
        expected[:, row, touched] = True
    if "groups" in options:
        expected[torch.arange(64) != 5] = False
    assert (found == expected).all()


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(func._schema.name)
        return func(*args, **kwargs or {})


def test_no_arithmetic_of_the_network_is_done_again() -> None:
    """So no backend can smear anything: not Winograd's, not FFT's, not that of NNPACK."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.LayerNorm(12))
    x = torch.rand(1, 3, 16, 16, requires_grad=True)
    y = network(x)
    asked = torch.zeros(y.shape, dtype=torch.bool)
    asked[0, 0, 2, 2] = True
    with Operators() as operators:
        assert propagate(y, x, asked).tainted.any()
    assert operators.names
    assert not [name for name in operators.names if "conv" in name or "backward" in name]


# Formats --------------------------------------------------------------------------------------


class Mixed(nn.Module):
    """Everything that a format might rewrite: skips, pools, norms, attention, writes, padding."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace
        self.first = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU6(inplace)
        self.down = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1, groups=2), nn.Hardswish(inplace))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.act(self.norm(self.first(x)))
        b = self.down(a)
        c = F.leaky_relu(self.pool(b) * 1.0, 0.1, self.inplace)
        c = F.interpolate(c, size=b.shape[2:], mode="bilinear", align_corners=False)
        b = b + c.clamp(-1.0, 1.0)
        if self.inplace:
            b[:, 1:3].relu_()
            b[:, :1] += b[:, 3:]
        else:
            e = torch.relu(b[:, 1:3])
            b = torch.cat([b[:, :1] + b[:, 3:], e, b[:, 3:]], 1)
        y: Tensor = self.head(torch.cat([F.elu(self.up(b), 1.0, self.inplace), a], 1))
        return y


@pytest.fixture(scope="module", params=[False, True], ids=["functional", "in-place"])
def formats(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Model]:
    """One network in every format, loaded as a user would."""
    folder: Path = tmp_path_factory.mktemp("formats")
    torch.manual_seed(0)
    net = Mixed(request.param).eval()
    x = torch.rand(1, 3, 16, 16)
    names = ("scripted.ts", "traced.ts", "frozen.ts", "frozen_trace.ts", "program.pt2")
    return models(net, x, folder, *names)


def test_every_format_has_the_same_field(formats: dict[str, Model]) -> None:
    x = torch.rand(1, 3, 16, 16)
    expected = field(formats["eager"], x, 6, 9)
    assert 0 < expected.tainted.sum() < expected.tainted.numel()
    probed = nan_probed(formats["eager"], x).reshape(16, 16, -1)[6, 9]
    assert (expected.tainted.flatten() == probed).all()
    for name, model in formats.items():
        for call in range(1, 6):
            found = field(model, torch.rand_like(x), 6, 9)
            assert found.lost_at == (), (name, call, found.lost_at)
            assert (found.tainted == expected.tainted).all(), (name, call)
