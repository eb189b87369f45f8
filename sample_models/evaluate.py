"""Recompute the held-out figures of the shipped models on freshly rendered pictures.

python sample_models/evaluate.py
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))
import gradviz
from sample_images.render import render_shapes
from sample_models.architectures import boxes_net, shapes_net, shapes_vit
from sample_models.data import BOXED, HELD_OUT, boxes, rooms, shapes, to_input

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


def load_boxes() -> nn.Module:
    model = boxes_net()
    model.load_state_dict(load_file(HERE / "boxes.safetensors"))
    return model.eval()


def load_vit() -> nn.Module:
    model = shapes_vit()
    model.load_state_dict(load_file(HERE / "vit.safetensors"))
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


def vit_figures(count: int = 800) -> dict[str, float]:
    images, shares = shapes(range(HELD_OUT, HELD_OUT + count))
    right = outputs(load_vit(), images).argmax(1) == shares.argmax(1)
    return {"vit: accuracy": float(right.float().mean())}


def overlaps(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of a box [4] with boxes [K, 4], all as x0, y0, x1, y1."""
    shared = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(
        0
    )
    both = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1)
    return shared.prod(1) / (both - shared.prod(1))


def found(boxes: Tensor, scores: Tensor) -> list[tuple[float, Tensor]]:
    """The score and the box of the detections of one class that no better one overlaps by half."""
    kept: list[tuple[float, Tensor]] = []
    for k in scores.argsort(descending=True)[: int((scores > 0.05).sum())]:
        if not kept or overlaps(boxes[k], torch.stack([box for _, box in kept])).max() <= 0.5:
            kept.append((float(scores[k]), boxes[k]))
    return kept


def average_precision(hits: list[tuple[float, bool]], present: int) -> float:
    """The area below the largest precision at each recall or a higher one."""
    right = torch.tensor([hit for _, hit in sorted(hits, reverse=True)]).double().cumsum(0)
    precision = right / torch.arange(1, len(right) + 1)
    best = precision.flip(0).cummax(0).values.flip(0)
    return float((right.diff(prepend=torch.zeros(1)) * best).sum() / present)


def boxes_figures(count: int = 400) -> dict[str, float]:
    """AP50: a detection is right if it overlaps the shape of its class by half."""
    images, truth = (
        torch.cat(part)
        for part in zip(
            boxes(range(HELD_OUT, HELD_OUT + count // 2), 1),
            boxes(range(HELD_OUT + count // 2, HELD_OUT + count), 2),
            strict=True,
        )
    )
    given = outputs(load_boxes(), images)
    middle, size = given[:, :2], given[:, 2:4]
    corners = torch.cat([middle - size / 2, middle + size / 2], 1).transpose(1, 2)
    precisions = []
    for label in range(truth.shape[1]):
        hits = []
        for image, wanted in enumerate(truth[:, label]):
            missing = bool(wanted.any())
            for score, box in found(corners[image], given[image, 4 + label]):
                hit = missing and float(overlaps(box, wanted[None])) >= 0.5
                missing = missing and not hit
                hits.append((score, hit))
        precisions.append(average_precision(hits, int(truth[:, label].any(1).sum())))
    return {"boxes: AP50": sum(precisions) / len(precisions)}


def edges_figures(count: int = 200) -> dict[str, float]:
    """How often most of the energy of a side's gradient lies on that side of the box's centre."""
    model = gradviz.load_model(HERE / "boxes.yaml")
    sides = {"x0": "left", "x1": "right", "y0": "above", "y1": "below"}
    there = dict.fromkeys(sides, 0)
    for seed in range(HELD_OUT + count, HELD_OUT + 2 * count):
        image = Image.fromarray(render_shapes(seed, BOXED).rgb)
        for result in gradviz.saliency(model, image, [f"box:0:{side}" for side in sides]):
            assert result.detection is not None
            x0, y0, x1, y1 = result.detection.box_in_input
            side = result.seed.rpartition(":")[2]
            energy = np.abs(result.array).sum(0) ** 2
            along = energy.sum(0 if side.startswith("x") else 1)
            middle = (x0 + x1) / 2 if side.startswith("x") else (y0 + y1) / 2
            before = along[np.arange(BOXED) + 0.5 < middle].sum() / along.sum()
            there[side] += before > 0.5 if side.endswith("0") else before < 0.5
    return {
        f"boxes: energy of {side} mostly {where}": float(there[side]) / count
        for side, where in sides.items()
    }


if __name__ == "__main__":
    figures = depth_figures() | shapes_figures() | boxes_figures() | edges_figures() | vit_figures()
    for name, value in figures.items():
        print(f"| {name} | {value:.3f} |")
