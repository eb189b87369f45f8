"""The two sample networks: dense depth in metres, and one of four shapes."""

from itertools import pairwise

import torch
from torch import Tensor, nn


def block(*channels: int) -> nn.Sequential:
    """3x3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class DepthNet(nn.Module):
    """A small U-Net: three halvings down, three doublings up, a skip at every level.

    Only convolutions, average pooling and nearest upsampling: what a pixel sees is bounded, and
    moving the image by the stride, 8 pixels, moves the answer by 8 pixels. Average pooling
    spreads gradients evenly where max pooling would scatter them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        one, two, three, four = width, 2 * width, 3 * width, 4 * width
        self.down1 = block(3, one, one)
        self.down2 = block(one, two, two)
        self.down3 = block(two, three, three)
        self.middle = block(three, four, four, four, four)
        self.up3 = block(four + three, three)
        self.up2 = block(three + two, two)
        self.up1 = block(two + one, one)
        self.metres = nn.Conv2d(one, 1, 1)
        self.shrink = nn.AvgPool2d(2)
        self.enlarge = nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, image: Tensor) -> Tensor:
        full = self.down1(image)
        half = self.down2(self.shrink(full))
        quarter = self.down3(self.shrink(half))
        eighth = self.middle(self.shrink(quarter))
        quarter = self.up3(torch.cat([self.enlarge(eighth), quarter], 1))
        half = self.up2(torch.cat([self.enlarge(quarter), half], 1))
        full = self.up1(torch.cat([self.enlarge(half), full], 1))
        depth: Tensor = self.metres(full)
        return depth


class ShapesNet(nn.Module):
    """Four levels of convolutions, then the average over all places, then one linear layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        one, two, three, four = width, 2 * width, 3 * width, 4 * width
        self.features = nn.Sequential(
            block(3, one, one),
            nn.AvgPool2d(2),
            block(one, two, two),
            nn.AvgPool2d(2),
            block(two, three, three),
            nn.AvgPool2d(2),
            block(three, four, four),
        )
        self.scores = nn.Linear(four, classes)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.scores(self.features(image).mean((2, 3)))
        return logits


def depth_net(width: int = 16) -> nn.Module:
    """[N, 3, H, W] -> [N, 1, H, W] metres; H and W divisible by 8."""
    return DepthNet(width)


def shapes_net(width: int = 16, classes: int = 4) -> nn.Module:
    """[N, 3, H, W] -> [N, classes] logits."""
    return ShapesNet(width, classes)
