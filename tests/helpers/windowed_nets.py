"""Networks whose output pixels look at windows of the input, of many kinds and one channel wide."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers import topologies


class Function(nn.Module):
    """A network written as a function of the input and of layers."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function(x, *self.layers)
        return y


def conv(kernel: int = 3, stride: int = 1, padding: int | None = None, **how: Any) -> nn.Module:
    """A convolution of one channel, padded to keep the size."""
    dilation = how.get("dilation", 1)
    padding = dilation * (kernel - 1) // 2 if padding is None else padding
    return nn.Conv2d(how.pop("given", 1), how.pop("made", 1), kernel, stride, padding, **how)


def stack(*layers: nn.Module) -> nn.Module:
    """Layers in a row, behind one that takes three channels."""
    return nn.Sequential(nn.Conv2d(3, 1, 1), *layers)


def unfolded(x: Tensor, dilation: int) -> Tensor:
    """The mean of 3x3 elements that lie apart."""
    height, width = x.shape[2:]
    columns = F.unfold(x, 3, dilation=dilation, padding=dilation)
    return columns.view(1, -1, height, width).mean(1, keepdim=True)


def shifted(x: Tensor, by: int) -> Tensor:
    """x, and x moved to the left; zeros come in."""
    return x + F.pad(x, [0, by])[..., by:]


def in_windows(x: Tensor, layer: nn.Module, side: int) -> Tensor:
    """A layer applied inside of windows, which do not see each other."""
    height, width = x.shape[2:]
    x = F.pad(x, [0, -width % side, 0, -height % side])
    rows, columns = x.shape[2] // side, x.shape[3] // side
    windows = x.view(1, -1, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
    made = layer(windows.reshape(rows * columns, -1, side, side))
    back = made.view(1, rows, columns, -1, side, side).permute(0, 3, 1, 4, 2, 5)
    whole: Tensor = back.reshape(1, -1, rows * side, columns * side)
    return whole[..., :height, :width]


def dense(x: Tensor, *layers: nn.Module) -> Tensor:
    """Each layer sees all before it."""
    for layer in layers:
        x = torch.cat([x, layer(x)], 1)
    return x


def half_passes(x: Tensor, near: nn.Module, far: nn.Module, last: nn.Module) -> Tensor:
    """Two halves of the channels look differently far, and only one is used."""
    both = torch.cat([near(x), far(x)], 1)
    one, _ = both.chunk(2, 1)
    y: Tensor = last(one)
    return y


def unet(x: Tensor, down: nn.Module, deep: nn.Module, up: nn.Module) -> Tensor:
    low = F.interpolate(deep(F.max_pool2d(down(x), 4)), scale_factor=4.0, mode="bilinear")
    y: Tensor = up(torch.cat([low, x[:, :1]], 1))
    return y


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 5, padding=2, groups=2), nn.PixelShuffle(2)
    )


NETS: dict[str, Callable[[], nn.Module]] = {
    # Found wrong once, each by a strip too short or too few samples.
    "nearest 1.5": lambda: nn.Upsample(scale_factor=1.5),
    "stride 8, unfold 6 apart": lambda: Function(
        lambda x, a: unfolded(a(x), 6), nn.Conv2d(3, 1, 15, 8, 7)
    ),
    "stride 16, unfold 6 apart": lambda: Function(
        lambda x, a: unfolded(a(x), 6), nn.Conv2d(3, 1, 31, 16, 15)
    ),
    "unfold 40 apart": lambda: Function(lambda x, a: unfolded(a(x), 40), conv(given=3)),
    "stride 8, shift 6": lambda: Function(lambda x, a: shifted(a(x), 6), nn.Conv2d(3, 1, 15, 8, 7)),
    "shift 40": lambda: Function(lambda x, a: shifted(a(x), 40), conv(given=3)),
    "roll 40": lambda: Function(lambda x: x + x.roll(40, -1) + x.roll(40, -2)),
    "windows of 24": lambda: Function(lambda x, a: in_windows(x, a, 24), conv(given=3)),
    # Convolutions.
    "1x1": lambda: conv(1, given=3),
    "3x3": lambda: conv(given=3),
    "even": lambda: conv(4, 2, 1, given=3),
    "valid": lambda: stack(conv(3, padding=0), conv(5, padding=0)),
    "twenty valid": lambda: stack(*(conv(3, padding=0) for _ in range(20))),
    "stride 3": lambda: stack(conv(3, 3), conv(3, 1)),
    "stride 18, dilated": lambda: stack(conv(1, 2), conv(1, 3), conv(1, 3), conv(5, dilation=3)),
    "stride without overlap": lambda: stack(conv(2, 4, 0), conv()),
    "dilated": lambda: stack(conv(dilation=2), conv(dilation=4), conv(dilation=8)),
    "dilated 40": lambda: conv(given=3, dilation=40),
    "stride 8, dilated 36": lambda: stack(conv(3, 2), conv(3, 2), conv(3, 2), conv(dilation=36)),
    "oblong": lambda: nn.Conv2d(3, 1, (1, 9), (1, 2), (0, 4)),
    "groups": grouped,
    "reflected": lambda: conv(5, given=3, padding_mode="reflect"),
    "replicated": lambda: conv(5, given=3, padding_mode="replicate"),
    "circular": lambda: conv(5, given=3, padding_mode="circular"),
    "transposed": lambda: stack(conv(3, 2), nn.ConvTranspose2d(1, 1, 4, 2, 1)),
    "transposed 3": lambda: stack(conv(3, 3), nn.ConvTranspose2d(1, 1, 3, 3), conv()),
    "transposed, output padding": lambda: stack(
        conv(3, 4), nn.ConvTranspose2d(1, 1, 5, 4, 2, output_padding=1)
    ),
    "transposed, dilated": lambda: stack(conv(3, 2), nn.ConvTranspose2d(1, 1, 3, 2, dilation=3)),
    # Pooling.
    "max": lambda: stack(conv(), nn.MaxPool2d(3, 2, 1)),
    "max, ceiling": lambda: stack(conv(), nn.MaxPool2d(3, 2, ceil_mode=True), conv()),
    "max, dilated": lambda: nn.MaxPool2d(3, 1, 1, dilation=20),
    "average": lambda: stack(conv(), nn.AvgPool2d(3, 2, 1), conv()),
    "average 5 by 3": lambda: nn.AvgPool2d(5, 3, 2, count_include_pad=False),
    # Upsampling.
    "nearest 2": lambda: stack(conv(), nn.Upsample(scale_factor=2.0), conv()),
    "nearest 1.5, conv": lambda: stack(nn.Upsample(scale_factor=1.5), conv()),
    "nearest 2.5": lambda: stack(conv(), nn.Upsample(scale_factor=2.5)),
    "nearest half": lambda: stack(conv(), nn.Upsample(scale_factor=0.5), conv()),
    "nearest exact": lambda: stack(conv(), nn.Upsample(scale_factor=1.5, mode="nearest-exact")),
    "bilinear 2": lambda: stack(conv(3, 2), nn.Upsample(scale_factor=2.0, mode="bilinear")),
    "bilinear 3": lambda: stack(conv(), nn.Upsample(scale_factor=3.0, mode="bilinear")),
    "bilinear third": lambda: stack(nn.Upsample(scale_factor=1 / 3, mode="bilinear"), conv()),
    "bilinear 8": lambda: stack(
        conv(3, 2), conv(3, 2), conv(3, 2), nn.Upsample(scale_factor=8.0, mode="bilinear")
    ),
    "bicubic 2": lambda: stack(conv(3, 2), nn.Upsample(scale_factor=2.0, mode="bicubic")),
    "bicubic 3": lambda: stack(conv(), nn.Upsample(scale_factor=3.0, mode="bicubic")),
    # Rearrangements.
    "pixel shuffle": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.PixelShuffle(2)),
    "pixel unshuffle": lambda: nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, 1, 3, padding=1)),
    "every third": lambda: Function(lambda x, a: a(x)[..., ::3, 1::3], conv(5, given=3)),
    "one half": lambda: Function(half_passes, conv(given=3), conv(9, given=3), conv()),
    "other half": lambda: Function(half_passes, conv(9, given=3), conv(given=3), conv()),
    "windows of 8": lambda: Function(lambda x, a: in_windows(x, a, 8), conv(given=3)),
    "windows of 7": lambda: Function(lambda x, a: in_windows(a(x), a, 7), conv(given=3, made=3)),
    # Networks.
    "dense": lambda: Function(dense, conv(given=3), conv(given=4), conv(5, given=5)),
    "unet": lambda: Function(unet, conv(given=3), conv(5), conv(given=2)),
    "norm": lambda: stack(conv(), nn.BatchNorm2d(1), nn.ReLU(), nn.Hardswish()),
    "VGG-16": topologies.vgg16,
    "AlexNet": topologies.alexnet,
    "PatchGAN": topologies.patchgan,
    "ResNet-18": lambda: topologies.resnet((2, 2, 2, 2), False),
    "MobileNet-v2": topologies.mobilenet_v2,
    "ResNet-34": lambda: topologies.resnet((3, 4, 6, 3), False),
}
"""At least 58; each geometry that is claimed is held against a change of the input's columns."""


def positive(net: nn.Module) -> nn.Module:
    """The network in doubles with positive weights: what comes in shows wherever it can matter."""
    net.double().eval()
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
        for module in net.modules():
            if isinstance(module, nn.ReLU6):
                module.max_val = math.inf
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.zero_()
    return net
