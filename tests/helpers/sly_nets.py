"""Networks that answer to a part of an image otherwise than to the whole, or nearly not."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers import windowed_nets

Function, conv, in_windows = (
    windowed_nets.Function,
    windowed_nets.conv,
    windowed_nets.in_windows,
)

BUDGET = 4000
"""Pixels above which some of them work otherwise."""


def area(x: Tensor) -> int:
    return x.shape[-1] * x.shape[-2]


def half_above_budget(x: Tensor, a: nn.Module) -> Tensor:
    if area(x) <= BUDGET:
        y: Tensor = a(x)
        return y
    low = a(F.avg_pool2d(x, 2))
    return F.interpolate(low, x.shape[-2:], mode="bilinear")


def positions(x: Tensor) -> Tensor:
    """A channel of columns, from 0 to 1."""
    return torch.linspace(0, 1, x.shape[-1], dtype=x.dtype).expand_as(x[:, :1])


def patches(x: Tensor, a: nn.Module) -> Tensor:
    """Overlapping patches, unfolded and folded."""
    made = F.unfold(a(x), 4, stride=2, padding=1)
    return F.fold(torch.tanh(made), x.shape[-2:], 4, stride=2, padding=1)


def shifted_windows(x: Tensor, a: nn.Module) -> Tensor:
    rolled = in_windows(a(x).roll((-4, -4), (2, 3)), a, 8)
    moved: Tensor = rolled.roll((4, 4), (2, 3))
    return moved


def blackened(x: Tensor, a: nn.Module) -> Tensor:
    y: Tensor = torch.tanh(a(x))
    y = y * 1
    y[..., 0] = 0
    return y


def resampled(x: Tensor, a: nn.Module) -> Tensor:
    turned = torch.eye(2, 3, dtype=x.dtype, device=x.device)[None]
    return F.grid_sample(
        a(x), F.affine_grid(turned, list(x.shape), align_corners=False), align_corners=False
    )


class Positions(nn.Module):
    """A learned map of positions."""

    def __init__(self, stretched: bool) -> None:
        super().__init__()
        self.stretched = stretched
        self.map = nn.Parameter(torch.randn(1, 3, *((8, 8) if stretched else (128, 128))))
        self.conv = conv(given=3)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        there = (
            F.interpolate(self.map, (height, width), mode="bilinear")
            if self.stretched
            else self.map[..., :height, :width]
        )
        y: Tensor = torch.tanh(self.conv(x + there))
        return y


def of(function: Callable[..., Tensor], *layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: Function(function, *layers)


def one() -> nn.Module:
    return nn.Sequential(conv(given=3, made=3), nn.Tanh())


def by(number: Callable[[Tensor], float]) -> Callable[[], nn.Module]:
    """A number of the image's shape as a factor."""
    return of(lambda x, a: a(x) * number(x), one())


NETS: dict[str, Callable[[], nn.Module]] = {
    "half above a budget": of(half_above_budget, one()),
    "half above a budget, everywhere": of(lambda x, a, b: half_above_budget(b(x), a), one(), one()),
    "shorter side": by(lambda x: min(x.shape[-2:])),
    "shorter side, barely": by(lambda x: 1 + 1e-3 * (min(x.shape[-2:]) > 40)),
    "area": by(lambda x: 1 + (area(x) > BUDGET)),
    "longer side": by(lambda x: 1 + (max(x.shape[-2:]) > 64)),
    "divisible by 32": by(lambda x: 2 - (x.shape[-1] % 32 == 0)),
    "odd": by(lambda x: 2 - x.shape[-1] % 2),
    "ratio": by(lambda x: x.shape[-1] / x.shape[-2]),
    "kernel of a share": of(
        lambda x, a: F.avg_pool2d(a(x), 2 * (x.shape[-1] // 16) + 1, 1, x.shape[-1] // 16), one()
    ),
    "stride by size": of(
        lambda x, a: a(x)[..., :: 1 + (area(x) > BUDGET), :: 1 + (area(x) > BUDGET)], one()
    ),
    "more layers if large": of(lambda x, a, b: b(a(x)) if area(x) > BUDGET else a(x), one(), one()),
    "padded to 32": of(
        lambda x, a: a(F.pad(x, [0, -x.shape[-1] % 32, 0, -x.shape[-2] % 32], mode="replicate"))[
            ..., : x.shape[-2], : x.shape[-1]
        ],
        one(),
    ),
    "aligned corners": of(
        lambda x, a: F.interpolate(
            a(F.max_pool2d(x, 2)), x.shape[-2:], mode="bilinear", align_corners=True
        ),
        one(),
    ),
    "to the size": of(
        lambda x, a: F.interpolate(a(x)[..., ::3, ::3], x.shape[-2:], mode="bilinear"), one()
    ),
    "coordinates": of(lambda x, a: torch.tanh(a(torch.cat([x, positions(x)], 1))), conv(given=4)),
    "coordinates as weights": of(lambda x, a: a(x) * positions(x), one()),
    "waves": of(
        lambda x, a: a(x) * torch.sin(torch.arange(x.shape[-1], dtype=x.dtype) / math.pi), one()
    ),
    "positions, stretched": lambda: Positions(stretched=True),
    "positions, cut": lambda: Positions(stretched=False),
    "roll": of(lambda x, a: a(x.roll(5, -1)), one()),
    "roll by half": of(lambda x, a: a(x) * x.roll(x.shape[-1] // 2, -1), one()),
    "circular": lambda: conv(5, given=3, padding_mode="circular"),
    "mirror image": of(lambda x, a: a(x) + a(x.flip(-1)).flip(-1), one()),
    "mirror image times itself": of(lambda x, a: a(x) * x.flip(-1), one()),
    "windows": of(lambda x, a: in_windows(x, a, 8), one()),
    "shifted windows": of(shifted_windows, one()),
    "cropped in the middle": of(
        lambda x, a: a(x)[..., 1:-1, x.shape[-1] // 4 : -(x.shape[-1] // 4)], one()
    ),
    "gate": of(lambda x, a: a(x) * x.mean((2, 3), keepdim=True), one()),
    "gate of seven": of(
        lambda x, a: a(x) * F.interpolate(F.adaptive_avg_pool2d(x, 7), x.shape[-2:]), one()
    ),
    "instance norm": lambda: nn.Sequential(conv(given=3), nn.InstanceNorm2d(1)),
    "softmax over space": of(lambda x, a: a(x).flatten(2).softmax(-1).view_as(x) * x, one()),
    "sum along rows": of(lambda x, a: a(x).cumsum(-1), one()),
    "Fourier": of(lambda x, a: a(torch.fft.irfft(torch.fft.rfft(x), n=x.shape[-1])), one()),
    "first column": of(lambda x, a: a(x) + x[..., :1], one()),
    "black border": of(blackened, one()),
    "threshold of the mean": of(lambda x, a: torch.where(x > x.mean(), a(x), x), one()),
    "threshold": of(lambda x, a: torch.where(x > 0.5, a(x), x), one()),
    "largest": of(lambda x, a: a(x) + x.flatten(2).topk(3).values.sum(), one()),
    "patches": of(patches, one()),
    "resampled": of(resampled, one()),
    "antialiased": of(
        lambda x, a: F.interpolate(a(x), scale_factor=0.5, mode="bilinear", antialias=True), one()
    ),
    "plain": lambda: nn.Sequential(one(), conv(5, given=3)),
    "up and down": of(lambda x, a: F.interpolate(a(F.max_pool2d(x, 2)), x.shape[-2:]) + x, one()),
}
"""Each is computed in parts only if that gives what the whole gives."""

PROVED = {"plain", "up and down", "windows", "threshold"}
"""Those whose parts can be proved to agree with the whole, everywhere."""
