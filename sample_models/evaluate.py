"""Recompute the held-out figures of the shipped models on freshly rendered pictures.

python sample_models/evaluate.py
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from sample_models.architectures import shapes_net
from sample_models.data import HELD_OUT, rooms, shapes, to_input

HERE = Path(__file__).parent


def load_depth() -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        model: nn.Module = torch.jit.load(HERE / "depth.ts")  # type: ignore[no-untyped-call]
    return model


def load_shapes() -> nn.Module:
    state = torch.load(HERE / "shapes.pt", weights_only=True)["state_dict"]
    model = shapes_net()
    model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return model.eval()


@torch.no_grad()
def outputs(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([model(to_input(part)) for part in torch.split(images, 16)])


def best_constant(depth: Tensor) -> Tensor:
    """The one answer with the least mean |answer - depth| / depth: the 1/depth-weighted median."""
    values = depth.flatten().double().sort().values
    weight = (1 / values).cumsum(0)
    return values[torch.searchsorted(weight, weight[-1] / 2)]


def depth_figures(count: int = 128) -> dict[str, float]:
    images, depth = rooms(range(HELD_OUT, HELD_OUT + count))

    def error(answer: Tensor) -> float:
        return float(((answer - depth).abs() / depth).mean())

    return {
        "depth: mean relative error": error(outputs(load_depth(), images)),
        "depth: the same of the best constant": error(best_constant(depth)),
    }


def shapes_figures(count: int = 800) -> dict[str, float]:
    images, shares = shapes(range(HELD_OUT, HELD_OUT + count))
    right = outputs(load_shapes(), images).argmax(1) == shares.argmax(1)
    return {"shapes: accuracy": float(right.float().mean())}


if __name__ == "__main__":
    for name, value in (depth_figures() | shapes_figures()).items():
        print(f"| {name} | {value:.3f} |")
