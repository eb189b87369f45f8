"""The sample networks: depth in metres, the shape in a picture, by two means, and their boxes."""

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


def halved(before: int, after: int) -> nn.Sequential:
    """A 4x4 convolution with stride 2, in which every pixel has the same part."""
    convolution = nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


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


class BoxNet(nn.Module):
    """A one-stage detector without anchors: every cell of 8x8 pixels suggests one box.

    A cell gives the distances from its centre to the four sides, and a probability for each class.
    The output is laid out as that of YOLO: [N, 4 + classes, cells], boxes as centre, width and
    height in pixels of the input.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        one, two, four = width, 2 * width, 4 * width
        self.features = nn.Sequential(
            halved(3, one),
            block(one, one),
            halved(one, two),
            block(two, two),
            halved(two, four),
            block(four, four, four, four),
        )
        self.sides = nn.Conv2d(four, 4, 1)
        self.scores = nn.Conv2d(four, classes, 1)

    def raw(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [N, 4, cells] as x0, y0, x1, y1 in pixels, and logits [N, classes, cells]."""
        features = self.features(image)
        stride = 8
        rows, columns = features.shape[2], features.shape[3]
        y = (torch.arange(rows, device=image.device, dtype=image.dtype) + 0.5) * stride
        x = (torch.arange(columns, device=image.device, dtype=image.dtype) + 0.5) * stride
        centre = torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)])
        distance = stride * self.sides(features).to(image.dtype).exp()
        corners = torch.cat([centre - distance[:, :2], centre + distance[:, 2:]], 1)
        return corners.flatten(2), self.scores(features).flatten(2)

    def forward(self, image: Tensor) -> Tensor:
        corners, logits = self.raw(image)
        first, second = corners[:, :2], corners[:, 2:]
        return torch.cat([(first + second) / 2, second - first, logits.sigmoid()], 1)


class Attention(nn.Module):
    """Each token looks at all tokens, by several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        asked = self.ask(tokens).view(count, length, 3, self.heads, width // self.heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(2, 3) * (width // self.heads) ** -0.5).softmax(3)
        joined: Tensor = self.join((weights @ value).transpose(1, 2).reshape(count, length, width))
        return joined


class Block(nn.Module):
    """Attention, then two layers for each token by itself, each added to what enters."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        added: Tensor = tokens + self.mlp(self.norm2(tokens))
        return added


class ShapesViT(nn.Module):
    """A vision transformer: a class token before one token for every 8x8 pixels, blocks, one layer.

    Three convolutions make the tokens, which small transformers learn from in minutes (Xiao et al.
    2021, arXiv:2106.14881).
    """

    def __init__(self, side: int, width: int, depth: int, heads: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Sequential(
            halved(3, width // 4), halved(width // 4, width // 2), halved(width // 2, width)
        )
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, 1 + (side // 8) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(image), -1, -1), tokens], 1) + self.places
        logits: Tensor = self.scores(self.norm(self.blocks(tokens))[:, 0])
        return logits


def depth_net(width: int = 16) -> nn.Module:
    """[N, 3, H, W] -> [N, 1, H, W] metres; H and W divisible by 8."""
    return DepthNet(width)


def shapes_net(width: int = 16, classes: int = 4) -> nn.Module:
    """[N, 3, H, W] -> [N, classes] logits."""
    return ShapesNet(width, classes)


def boxes_net(width: int = 16, classes: int = 4) -> nn.Module:
    """[N, 3, H, W] -> [N, 4 + classes, H/8 * W/8]; H and W divisible by 8."""
    return BoxNet(width, classes)


def shapes_vit(
    side: int = 96, width: int = 64, depth: int = 3, heads: int = 4, classes: int = 4
) -> nn.Module:
    """[N, 3, side, side] -> [N, classes] logits."""
    return ShapesViT(side, width, depth, heads, classes)
