"""Networks of the size that people use, with random weights: speed does not depend on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 with a skip (He et al. 2015), the stride on the 3×3."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(given, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or given != 4 * width:
            self.skip = nn.Sequential(
                nn.Conv2d(given, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(x) + self.skip(x))


def _stem() -> list[nn.Module]:
    """[N, 3, H, W] -> [N, 64, H/4, W/4]."""
    return [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]


def resnet50(features: bool = False) -> nn.Module:
    """[N, 3, H, W] -> [N, 1000], or the last feature map [N, 2048, H/32, W/32]."""
    torch.manual_seed(0)
    layers = _stem()
    given = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for n in range(count):
            layers.append(Bottleneck(given, width, stride if n == 0 else 1))
            given = 4 * width
    if not features:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, 1000)]
    return nn.Sequential(*layers).eval()


class BasicBlock(nn.Module):
    """Two 3×3 with a skip."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(given, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or given != width:
            self.skip = nn.Sequential(
                nn.Conv2d(given, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(x) + self.skip(x))


def resnet18() -> nn.Module:
    """[N, 3, H, W] -> the last feature map [N, 512, H/32, W/32]."""
    torch.manual_seed(0)
    layers = _stem()
    given = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [BasicBlock(given, width, stride), BasicBlock(width, width, 1)]
        given = width
    return nn.Sequential(*layers).eval()


def resnet50_features() -> nn.Module:
    """The last feature map of `resnet50`."""
    return resnet50(features=True)


def vgg16() -> nn.Module:
    """[N, 3, H, W] -> the last feature map [N, 512, H/32, W/32]."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    given = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(given, width, 3, padding=1), nn.ReLU(inplace=True)]
            given = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers).eval()


def fcn_resnet50() -> nn.Module:
    """[N, 3, H, W] -> [N, 21, H, W]: ResNet-50 at stride 8 by dilation, a head, and bilinear up."""
    body = resnet50(features=True)
    dilation = 1
    for n, block in enumerate(body[4:]):  # type: ignore[index]
        if n >= 7:
            middle = block.path[3]
            if middle.stride == (2, 2):
                dilation *= 2
                middle.stride = block.skip[0].stride = (1, 1)
            else:
                middle.dilation = middle.padding = (dilation, dilation)
    head = [nn.Conv2d(2048, 512, 3, padding=1, bias=False), nn.BatchNorm2d(512), nn.ReLU()]
    up = nn.Upsample(scale_factor=8.0, mode="bilinear")
    return nn.Sequential(body, *head, nn.Conv2d(512, 21, 1), up).eval()


class UNet(nn.Module):
    """Six levels of padded 3×3 with batch norm, joined by skips: 54 layers."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()

        def twice(given: int, made: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(given, made, 3, padding=1),
                nn.BatchNorm2d(made),
                nn.ReLU(),
                nn.Conv2d(made, made, 3, padding=1),
            )

        widths = [width << n for n in range(6)]
        self.down = nn.ModuleList(twice(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(twice(3 * w, w) for w in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for level in self.down:
            x = level(nn.functional.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        kept.pop()
        for level in self.up:
            higher = nn.functional.interpolate(x, scale_factor=2.0)
            x = level(torch.cat([higher, kept.pop()], 1))
        y: Tensor = self.last(x)
        return y


def unet() -> nn.Module:
    """[N, 3, H, W] -> [N, 1, H, W]."""
    torch.manual_seed(0)
    return UNet().eval()
