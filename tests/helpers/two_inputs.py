"""Networks that take another input beside the image, and their files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


class Depth(nn.Module):
    """Image [N, 3, H, W] and depth map [N, 1, H, W] -> a map [N, 2, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Conv2d(5, 2, 3, padding=1)

    def forward(self, image: Tensor, depth: Tensor) -> Tensor:
        y: Tensor = self.head(torch.relu(self.norm(self.first(torch.cat([image, depth], 1)))))
        return y


class Mask(nn.Module):
    """Image [N, 3, H, W] and a picture of a mask, which comes first -> scores [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 6, 3)
        self.scores = nn.Linear(6, 4)

    def forward(self, mask: Tensor, image: Tensor) -> Tensor:
        y: Tensor = self.scores(torch.tanh(self.features(image * mask)).mean((2, 3)))
        return y


class Vector(nn.Module):
    """Image [N, 3, H, W] and a vector [N, 4] -> scores [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 6, 3)
        self.scores = nn.Linear(10, 5)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        both = torch.cat([torch.tanh(self.features(image)).mean((2, 3)), vector], 1)
        y: Tensor = self.scores(both.sin())
        return y


class Pair(nn.Module):
    """Two images [N, 3, H, W] -> how the left fits the right, a map [N, 1, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        product = torch.tanh(self.features(left)) * torch.tanh(self.features(right))
        return product.sum(1, keepdim=True)


NETS: dict[str, type[nn.Module]] = {"depth": Depth, "mask": Mask, "vector": Vector, "pair": Pair}


def network(kind: str) -> nn.Module:
    """A network with seeded weights."""
    torch.manual_seed(7)
    net = NETS[kind]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return net.eval()


def save_network(kind: str, inputs: tuple[Tensor, Tensor], format: str, folder: Path) -> list[str]:
    """Save a network in a folder; return the arguments of the command line that load it."""
    net, path = network(kind), folder / f"{kind}.{format}"
    match format:
        case "eager":
            torch.save(net.state_dict(), path)
            arch = ["--arch", "tests.helpers.two_inputs:network", "--arch-arg", f"kind={kind}"]
            return [str(path), *arch]
        case "script":
            torch.jit.save(torch.jit.script(net), path)
        case "trace":
            torch.jit.save(torch.jit.trace(net, inputs), path)  # type: ignore[no-untyped-call]
        case "exported":
            torch.export.save(torch.export.export(net, inputs), path)
        case "keywords":
            names = list(torch.jit.script(net).forward.schema.arguments)  # type: ignore[attr-defined]
            named = {names[2].name: inputs[1]}
            torch.export.save(torch.export.export(net, inputs[:1], named), path)
    return [str(path), *(["--trust"] if format in ("exported", "keywords") else [])]
