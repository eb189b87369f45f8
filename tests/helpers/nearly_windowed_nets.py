"""Networks of windows, each with one trait by which parts of large images may go wrong."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers.windowed_nets import Function, conv, in_windows, shifted, stack, unfolded

Body = Callable[[], nn.Module]

BODIES: dict[str, Body] = {
    "3x3": lambda: stack(conv(), nn.Tanh(), conv(5)),
    "dilated": lambda: stack(conv(dilation=2), nn.Tanh(), conv(dilation=8)),
    "stride 4, bilinear up": lambda: stack(
        conv(5, 2), conv(5, 2), nn.Tanh(), nn.Upsample(scale_factor=4.0, mode="bilinear")
    ),
    "average, nearest up": lambda: stack(
        nn.AvgPool2d(2), conv(), nn.Tanh(), nn.Upsample(scale_factor=2.0)
    ),
    "transposed": lambda: stack(conv(3, 2), nn.Tanh(), nn.ConvTranspose2d(1, 1, 4, 2, 1)),
    "windows of 8": lambda: Function(
        lambda x, a, b: torch.tanh(in_windows(a(x), b, 8)), conv(given=3), conv()
    ),
    "unfolded 6 apart": lambda: Function(lambda x, a: torch.tanh(unfolded(a(x), 6)), conv(given=3)),
    "shifted by 24": lambda: Function(lambda x, a: torch.tanh(shifted(a(x), 24)), conv(given=3)),
}
"""[N, 3, H, W] -> [N, 1, H, W], with H and W multiples of 8."""


def _filled(x: Tensor, body: nn.Module) -> Tensor:
    """Filled up to multiples of 64 by the last row and column."""
    height, width = x.shape[-2:]
    filled = F.pad(x, [0, -width % 64, 0, -height % 64], mode="replicate")
    y: Tensor = body(filled)[..., :height, :width]
    return y


def _brighter_far_off(x: Tensor, body: nn.Module) -> Tensor:
    """From column 900 on, outputs count a little more."""
    far = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device) >= 900
    y: Tensor = body(x)
    return y * (1 + 0.01 * far)


def _other_if_large(x: Tensor, body: nn.Module) -> Tensor:
    """Above a million pixels, outputs count a little more."""
    y: Tensor = body(x)
    return y * 1.01 if x.shape[-1] * x.shape[-2] > 1_000_000 else y


def _nearly_aligned(x: Tensor, body: nn.Module) -> Tensor:
    """Corners are aligned, so that places move by less than a pixel from end to end."""
    half = F.avg_pool2d(body(x), 2)
    y: Tensor = F.interpolate(half, x.shape[-2:], mode="bilinear", align_corners=True)
    return y


TRAITS: dict[str, Callable[[Tensor, nn.Module], Tensor]] = {
    "filled up": _filled,
    "brighter far off": _brighter_far_off,
    "other if large": _other_if_large,
    "aligned corners": _nearly_aligned,
}


def _with(trait: Callable[[Tensor, nn.Module], Tensor], body: Body) -> Body:
    return lambda: Function(trait, body())


NETS: dict[str, Body] = {
    f"{name}, {trait}": _with(function, body)
    for trait, function in TRAITS.items()
    for name, body in BODIES.items()
}
"""32 networks; without their trait all can be computed in parts."""
