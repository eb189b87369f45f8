"""The networks whose gradients the tests know, or let others compute."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dense(nn.Module):
    """[N, 3, H, W] -> [N, 2, H/2, W/2], with batch norm, in-place ReLU, pooling and a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(5, 5, 3, padding=1)
        self.head = nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu(self.norm(self.first(x)))
        a = a + F.interpolate(torch.relu(self.second(F.max_pool2d(a, 2))), scale_factor=2.0)
        y: Tensor = self.head(F.avg_pool2d(a, 2))
        return y


def dense() -> Dense:
    """Seeded, with running statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    net = Dense()
    net(torch.rand(8, 3, 8, 8) * 3)
    net.eval()
    with torch.no_grad():  # so that both channels win somewhere
        net.head.bias -= net(torch.rand(8, 3, 8, 8)).mean((0, 2, 3))
    return net


class Scores(nn.Module):
    """[N, 3, H, W] -> [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 6, 3)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.relu(self.features(x)).mean((2, 3)))
        return y


def scores() -> nn.Module:
    torch.manual_seed(1)
    return Scores().eval()


class OneConvolution(nn.Module):
    """The one-convolution network of Captum's tests, [N, 1, 4, 4] -> [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.fc1 = nn.Linear(8, 4)
        with torch.no_grad():
            self.conv1.weight.fill_(1)
            self.conv1.bias = nn.Parameter(torch.tensor([-50.0, -75.0]))
            self.fc1.weight.copy_(torch.cat([torch.ones(4, 5), -torch.ones(4, 3)], 1))
            self.fc1.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv1(x))
        return torch.relu(self.fc1(x.view(-1, 8)))


def one_convolution() -> nn.Module:
    return OneConvolution().eval()


class Linear(nn.Module):
    """y = (⟨w, x⟩, -2⟨w, x⟩), so ∂y/∂x is w and -2w at every x; w counts up from 0."""

    def forward(self, x: Tensor) -> Tensor:
        w = torch.arange(x[0].numel(), dtype=x.dtype).view_as(x[0])
        y = (w * x).flatten(1).sum(1)
        return torch.stack([y, -2 * y], 1)


class HalfSquare(nn.Module):
    """y = x² / 2 pixel by pixel, so that ∂⟨v, y⟩/∂x = v · x: under ones, what entered."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x / 2


class Fails(nn.Module):
    """Raises in the forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("nothing pleases me")


class OnlyGray(nn.Module):
    """Raises if it is given three channels."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 3:
            raise ValueError("only gray images")
        return x


class Conv(nn.Module):
    """A convolution, for networks that TorchScript compiles."""

    def __init__(self, made: int = 4, side: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, made, side)


class Net(nn.Module):
    """A function of the input and of layers, which it is given by their names."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self._modules)
