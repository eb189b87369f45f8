"""The networks whose gradients are compared, random and trained, and how they are broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import gradviz
from gradviz.image.preprocess import Preprocess

SAMPLES = Path(__file__).parents[1] / "sample_models"


def _branch(x: Tensor, detached: bool) -> Tensor:
    return x.detach() if detached else x


def _twice(given: int, made: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(given, made, 3, padding=1, bias=False),
        nn.BatchNorm2d(made),
        nn.ReLU(),
        nn.Conv2d(made, made, 3, padding=1, bias=False),
        nn.BatchNorm2d(made),
        nn.ReLU(),
    )


class MaxUNet(nn.Module):
    """A U-Net with max pooling (Ronneberger et al. 2015): [N, 3, H, W] -> [N, 1, H, W]."""

    def __init__(self, width: int, stride: int = 2, detached: bool = False) -> None:
        super().__init__()
        widths = [width << n for n in range(4)]
        self.stride, self.detached = stride, detached
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(_twice(3 * w, w) for w in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for number, level in enumerate(self.down):
            if number:
                x = functional.max_pool2d(x, 2, self.stride if number == 1 else 2)
            x = level(x)
            kept.append(x)
        kept.pop()
        for number, level in enumerate(self.up):
            skip = kept.pop()
            if number == 1:
                skip = _branch(skip, self.detached)
            x = functional.interpolate(x, size=skip.shape[-2:])
            x = level(torch.cat([x, skip], 1))
        y: Tensor = self.last(x)
        return y


class _Residual(nn.Module):
    """Two 3×3 convolutions with a skip (He et al. 2015)."""

    def __init__(self, given: int, made: int, stride: int, detached: bool) -> None:
        super().__init__()
        self.detached = detached
        self.path = nn.Sequential(
            nn.Conv2d(given, made, 3, stride, 1, bias=False),
            nn.BatchNorm2d(made),
            nn.ReLU(),
            nn.Conv2d(made, made, 3, 1, 1, bias=False),
            nn.BatchNorm2d(made),
        )
        self.skip = nn.Conv2d(given, made, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(_branch(x, self.detached)) + self.skip(x))


class ResidualNet(nn.Module):
    """A residual network with a max pool: [N, 3, H, W] -> [N, 10]."""

    def __init__(self, width: int, stride: int = 2, detached: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 5, stride, 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            _Residual(width, width, 1, False),
            _Residual(width, 2 * width, 2, detached),
            _Residual(2 * width, 4 * width, 2, False),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


class GatedNet(nn.Module):
    """Depthwise layers and a gate on channels (Howard et al. 2019): [N, 3, H, W] -> [N, 10]."""

    def __init__(self, width: int, stride: int = 2, detached: bool = False) -> None:
        super().__init__()
        self.detached = detached
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, stride, 1), nn.ReLU6())
        wide = 4 * width
        self.grow = nn.Sequential(nn.Conv2d(width, wide, 1), nn.BatchNorm2d(wide), nn.Hardswish())
        self.space = nn.Sequential(
            nn.Conv2d(wide, wide, 5, 2, 2, groups=wide), nn.BatchNorm2d(wide), nn.ReLU6()
        )
        self.gate = nn.Sequential(
            nn.Conv2d(wide, width, 1), nn.ReLU(), nn.Conv2d(width, wide, 1), nn.Hardsigmoid()
        )
        self.pool = nn.MaxPool2d(2)
        self.mix = _twice(wide, 2 * width)
        self.last = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.space(self.grow(self.stem(x)))
        x = _branch(x, self.detached) * self.gate(x.mean((2, 3), keepdim=True))
        y: Tensor = self.last(self.mix(self.pool(x)).mean((2, 3)))
        return y


class SmoothNet(nn.Module):
    """Blocks of depthwise 7×7 and GELU (Liu et al. 2022): [N, 3, H, W] -> [N, 4, H/4, W/4]."""

    def __init__(self, width: int, stride: int = 4, detached: bool = False) -> None:
        super().__init__()
        self.detached = detached
        self.stem = nn.Conv2d(3, width, 4, stride)
        self.space = nn.ModuleList(
            nn.Conv2d(width, width, 7, padding=3, groups=width) for _ in range(3)
        )
        self.mix = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, width),
                nn.Conv2d(width, 4 * width, 1),
                nn.GELU(),
                nn.Conv2d(4 * width, width, 1),
            )
            for _ in range(3)
        )
        self.last = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for number, (space, mix) in enumerate(zip(self.space, self.mix, strict=True)):
            x = x + mix(space(_branch(x, self.detached and number == 1)))
        y: Tensor = self.last(x)
        return y


class AttentionNet(nn.Module):
    """A transformer on patches (Dosovitskiy et al. 2020): [N, 3, H, W] -> [N, 10]."""

    def __init__(self, width: int, stride: int = 8, detached: bool = False) -> None:
        super().__init__()
        self.detached = detached
        self.patches = nn.Conv2d(3, width, 8, stride)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(6))
        self.ask = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(3))
        self.think = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
            for _ in range(3)
        )
        self.last = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for number, (ask, think) in enumerate(zip(self.ask, self.think, strict=True)):
            first, second = self.norms[2 * number], self.norms[2 * number + 1]
            query, key, value = ask(first(x)).chunk(3, 2)
            mixed = functional.scaled_dot_product_attention(query, key, value)
            x = x + _branch(mixed, self.detached and number == 1)
            x = x + think(second(x))
        y: Tensor = self.last(x.mean(1))
        return y


Changes = Mapping[str, Any]
"""What is different in a broken network: `weights`, `stride` or `detached`."""


@dataclass(frozen=True)
class Subject:
    """A network, the breaks of it, and what is asked of it."""

    name: str
    build: Callable[[Changes], nn.Module]
    """Builds it, with the changes of a break."""
    breaks: Mapping[str, Changes]
    recipe: Preprocess
    seeds: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The kind of the network: its name without the number, or the word trained."""
        return self.name.split()[0]


MEAN, DEVIATION = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
RECIPE = Preprocess.model_validate({"resize": (96, 96), "mean": MEAN, "std": DEVIATION})
DENSE = ("ones", "pixel:11,12", "region:4,4,16,16")
CLASSES = ("top", "class:1", "ones")

KINDS: dict[str, tuple[Callable[..., nn.Module], int, int, tuple[str, ...]]] = {
    "U-Net": (MaxUNet, 8, 3, DENSE),
    "residual": (ResidualNet, 12, 1, CLASSES),
    "gated": (GatedNet, 12, 1, CLASSES),
    "smooth": (SmoothNet, 16, 3, DENSE),
    "attention": (AttentionNet, 24, 6, CLASSES),
}
"""Each kind of random network: the smallest width, the stride of a break, and the seeds."""
NUMBERS = range(4)
"""The networks of each kind: each is wider than the one before, and has other weights."""


def _random(kind: str, number: int) -> Subject:
    net, width, stride, seeds = KINDS[kind]

    def build(changes: Changes) -> nn.Module:
        changed = dict(changes)
        with torch.random.fork_rng():
            torch.manual_seed(number + changed.pop("weights", 0))
            return _drawn(net(width + 4 * number, **changed))

    breaks: dict[str, Changes] = {
        "other weights": {"weights": 1000},
        "detached branch": {"detached": True},
        "changed stride": {"stride": stride},
    }
    return Subject(f"{kind} {number}", build, breaks, RECIPE, seeds)


def _drawn(net: nn.Module) -> nn.Module:
    """Draw weights that keep the size of what passes, as trained ones do (He et al. 2015)."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return net.eval()


def _trained(
    name: str, detached: str, restride: Callable[[nn.Module], object], *seeds: str
) -> Subject:
    """Take a sample model.

    Args:
        name: the name of its card.
        detached: the module half of whose channels a break detaches.
        restride: the break that changes a stride.
        seeds: the seeds.
    """
    card = SAMPLES / f"{name}.yaml"

    def build(changes: Changes) -> nn.Module:
        net = gradviz.load_model(card).module
        assert isinstance(net, nn.Module)
        if "weights" in changes:
            with torch.random.fork_rng():
                torch.manual_seed(changes["weights"])
                _drawn(net)
        if "detached" in changes:
            net.get_submodule(detached).register_forward_hook(_half_detached)
        if "stride" in changes:
            restride(net)
        return net

    breaks: dict[str, Changes] = {
        "other weights": {"weights": 1000},
        "detached branch": {"detached": True},
        "changed stride": {"stride": True},
    }
    recipe = gradviz.load_model(card).preprocess
    assert recipe is not None
    recipe = recipe.model_copy(update={"resize": RECIPE.resize})
    return Subject(f"trained {name}", build, breaks, recipe, seeds)


def _half_detached(module: nn.Module, given: object, made: Tensor) -> Tensor:
    half = made.shape[-1] // 2 if made.ndim == 3 else made.shape[1] // 2
    axis = -1 if made.ndim == 3 else 1
    rest = made.narrow(axis, half, made.shape[axis] - half)
    return torch.cat([made.narrow(axis, 0, half).detach(), rest], axis)


def _coarse_middle(net: nn.Module) -> None:
    """Compute the middle of the depth model at twice its stride, and enlarge that again."""

    def repeated(module: nn.Module, given: object, made: Tensor) -> Tensor:
        coarse = made[..., ::2, ::2]
        return functional.interpolate(coarse, size=made.shape[-2:])

    net.get_submodule("middle").register_forward_hook(repeated)


def _no_first_pooling(net: nn.Module) -> None:
    net.get_submodule("features.1").stride = 1  # type: ignore[assignment]


def _late_stride(net: nn.Module) -> None:
    """Halve no side of the first map, and quarter those of the second: as many tokens as before."""
    net.get_submodule("patches.0.0").stride = (1, 1)  # type: ignore[assignment]
    net.get_submodule("patches.1.0").stride = (4, 4)  # type: ignore[assignment]


def subjects(numbers: Iterable[int] = NUMBERS) -> list[Subject]:
    """List random networks of these numbers of every kind, and the trained ones."""
    return [
        *(_random(kind, number) for kind in KINDS for number in numbers),
        _trained("depth", "middle", _coarse_middle, *DENSE),
        _trained("shapes", "features.2", _no_first_pooling, *CLASSES),
        _trained("vit", "blocks.1.attention", _late_stride, *CLASSES),
    ]
