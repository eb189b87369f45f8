"""The topologies of published networks, one or two channels wide: a field has no use for more."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def vgg16() -> nn.Module:
    """The features of VGG-16 (Simonyan and Zisserman 2014), layer numbers as in torchvision."""
    layers: list[nn.Module] = []
    for block, count in enumerate((2, 2, 3, 3, 3)):
        for n in range(count):
            layers += [nn.Conv2d(3 if block == n == 0 else 1, 1, 3, padding=1), nn.ReLU(True)]
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def alexnet() -> nn.Module:
    """The features of AlexNet, in the variant of Krizhevsky 2014."""
    return nn.Sequential(
        nn.Conv2d(3, 1, 11, 4, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(1, 1, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(1, 1, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(1, 1, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(1, 1, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )


class Residual(nn.Module):
    """A residual block of convolutions (kernel, stride), projected on the skip where asked."""

    def __init__(self, given: int, convolutions: list[tuple[int, int]], project: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        stride = 1
        for n, (kernel, step) in enumerate(convolutions):
            layers += [
                nn.Conv2d(given if n == 0 else 1, 1, kernel, step, kernel // 2, bias=False),
                nn.BatchNorm2d(1),
            ]
            if n < len(convolutions) - 1:
                layers.append(nn.ReLU(inplace=True))
            stride *= step
        self.path = nn.Sequential(*layers)
        self.skip = nn.Conv2d(given, 1, 1, stride, bias=False) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(x) + self.skip(x))


def resnet(depths: tuple[int, ...], bottleneck: bool, stride_on_first: bool = False) -> nn.Module:
    """A ResNet's features (He et al. 2015), named as in torchvision."""

    def block(stride: int, first: bool) -> nn.Module:
        if not bottleneck:
            return Residual(1, [(3, stride), (3, 1)], first)
        steps = (stride, 1) if stride_on_first else (1, stride)
        return Residual(1, [(1, steps[0]), (3, steps[1]), (1, 1)], first)

    layers = [
        nn.Sequential(*(block(2 if n == 0 and stage > 0 else 1, n == 0) for n in range(depth)))
        for stage, depth in enumerate(depths)
    ]
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 1, 7, 2, 3, bias=False), nn.BatchNorm2d(1), nn.ReLU(True)),
        nn.MaxPool2d(3, 2, 1),
        *layers,
    )


def mobilenet_v2() -> nn.Module:
    """The features of MobileNet-v2 (Sandler et al. 2018): the depthwise 3×3 convolutions."""
    strides = [1]
    for count, stride in ((2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)):
        strides += [stride] + [1] * (count - 1)
    layers: list[nn.Module] = [nn.Conv2d(3, 2, 3, 2, 1), nn.ReLU6()]
    for stride in strides:
        layers += [
            nn.Conv2d(2, 2, 1),
            nn.ReLU6(),
            nn.Conv2d(2, 2, 3, stride, 1, groups=2),
            nn.ReLU6(),
            nn.Conv2d(2, 2, 1),
        ]
    return nn.Sequential(*layers, nn.Conv2d(2, 2, 1))


def patchgan() -> nn.Module:
    """The 70×70 discriminator of pix2pix (Isola et al. 2016)."""
    layers: list[nn.Module] = []
    for n, stride in enumerate((2, 2, 2, 1, 1)):
        layers += [nn.Conv2d(3 if n == 0 else 1, 1, 4, stride, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])
