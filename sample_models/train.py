"""Train the sample models on freshly rendered pictures and write them with their cards.

python sample_models/train.py [depth|shapes|boxes|vit|all]
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from sample_images.render import LABELS
from sample_models.architectures import BoxNet, boxes_net, depth_net, shapes_net, shapes_vit
from sample_models.data import BOXED, MEAN, ROOM, SHAPE, STD, Map, boxes, rooms, shapes, to_input

HERE = Path(__file__).parent
Batches = list[tuple[Tensor, Tensor]]
Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)


def disturb(image: Tensor) -> Tensor:
    """Noise and a colour cast: a model that ignores both has calmer gradients."""
    count = len(image)
    gain = 1 + 0.15 * torch.randn(count, 3, 1, 1).clamp(-2, 2)
    shift = 0.15 * torch.randn(count, 1, 1, 1).clamp(-2, 2)
    return image * gain + shift + torch.rand(count, 1, 1, 1) * 0.4 * torch.randn_like(image)


def mirror(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the batches left to right; a class has no sides, and those of boxes change places."""
    if torch.rand(()) < 0.5:
        return image, target
    if target.dim() == 3:
        there = target.sum(2, keepdim=True) > 0
        x0, y0, x1, y1 = target.unbind(2)
        target = torch.stack([image.shape[3] - x1, y0, image.shape[3] - x0, y1], 2) * there
    return image.flip(3), target.flip(3) if target.dim() == 4 else target


def turn(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Each batch in one of eight ways: turned by quarters and mirrored."""
    quarters, mirrored = torch.randint(4, ()), torch.rand(()) < 0.5
    image = image.rot90(int(quarters), (2, 3))
    return image.flip(3) if mirrored else image, target


def shuffled(sets: Batches, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All pictures of all sets once, in batches of one set each, in random order."""
    parts = [
        (index, part)
        for index, (images, _) in enumerate(sets)
        for part in torch.split(torch.randperm(len(images)), batch)
    ]
    for k in torch.randperm(len(parts)):
        index, part = parts[int(k)]
        images, targets = sets[index]
        yield images[part], targets[part]


def depth_loss(output: Tensor, depth: Tensor) -> Tensor:
    """The mean relative error, and its steps between neighbours: those keep edges sharp."""
    error = (output - depth) / depth
    return error.abs().mean() + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes [..., 4] as x0, y0, x1, y1."""
    sides = torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(
        one[..., :2], other[..., :2]
    )
    shared = sides.clamp(min=0).prod(-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(-1) for each in (one, other)]
    return shared / (areas[0] + areas[1] - shared)


def boxes_loss(output: tuple[Tensor, Tensor], wanted: Tensor) -> Tensor:
    """Focal loss of the classes, and 1 - IoU of the cells in the middle of a shape."""
    corners, logits = output[0].float(), output[1].float()
    side = int(corners.shape[2] ** 0.5)
    place = 8 * (torch.arange(side) + 0.5)
    centre = torch.stack([place.repeat(side), place.repeat_interleave(side)], 1)  # [A, 2]
    middle = (wanted[..., :2] + wanted[..., 2:])[:, :, None] / 2  # [N, C, 1, 2]
    there = wanted.sum(2, keepdim=True) > 0
    own = ((centre - middle).abs().amax(3) <= 10) & there  # [N, C, A]
    truth = own.float()
    chance = logits.sigmoid()
    wrong = torch.where(own, 1 - chance, chance) ** 2
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    n, label, cell = own.nonzero(as_tuple=True)
    got, box = corners.transpose(1, 2)[n, cell], wanted[n, label]
    missed = 1 - overlap(got, box) + (got - box).abs().mean(1) / 16
    return (wrong * entropy).sum() / len(n) + missed.mean()


@dataclass(frozen=True)
class Plan:
    """How long and how fast, and what makes another picture of the same kind."""

    epochs: int
    batch: int
    rate: float
    change: Change = mirror


def fit(
    model: nn.Module, sets: Batches, loss_of: Callable[[Any, Tensor], Tensor], plan: Plan
) -> None:
    """AdamW with one warm-up and one decay."""
    run = model.raw if isinstance(model, BoxNet) else model
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = plan.epochs * sum(-(-len(images) // plan.batch) for images, _ in sets)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=steps)
    start = time.perf_counter()
    for epoch in range(1, plan.epochs + 1):
        total = 0.0
        for images, targets in shuffled(sets, plan.batch):
            image, target = plan.change(disturb(to_input(images)), targets)
            image = image.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):  # more than twice as fast
                output = run(image)
            loss = loss_of(output.float() if isinstance(output, Tensor) else output, target)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += len(images) * loss.item()
        mean = total / sum(len(images) for images, _ in sets)
        print(f"epoch {epoch}/{plan.epochs}: loss {mean:.4f}, {time.perf_counter() - start:.0f} s")
    model.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def write_card(stem: str, **card: object) -> None:
    text = yaml.safe_dump(card, sort_keys=False, default_flow_style=None)
    (HERE / f"{stem}.yaml").write_text(text)


def train_depth(each: Map, width: int = 16) -> None:
    torch.manual_seed(0)
    # Other shapes than square keep the model from reading depth off the distance to a border.
    sides = [(ROOM, ROOM, 1400), (208, ROOM, 400), (ROOM, 168, 300)]
    sets, first = [], 0
    for wide, high, count in sides:
        sets.append(rooms(range(first, first + count), wide, high, each))
        first += count
    model = depth_net(width)
    model.state_dict()["metres.bias"].fill_(4.0)  # a typical depth to start from
    fit(model, sets, depth_loss, Plan(epochs=12, batch=16, rate=4e-3))
    # By the oldest torch that gradviz takes, whose operations all others have: make compat.
    torch.jit.save(torch.jit.script(model), HERE / "depth.ts")
    save_file(model.state_dict(), HERE / "depth.safetensors")
    write_card(
        "depth",
        model="depth.safetensors",
        arch="architectures.py:depth_net",
        arch_args={"width": width},
        preprocess={"resize": ROOM, "multiple": 8, "mean": MEAN, "std": STD},
    )


def train_shapes(each: Map, width: int = 16) -> None:
    torch.manual_seed(0)
    model = shapes_net(width, len(LABELS))
    epochs = 8
    # Pictures of two shapes teach it to weigh evidence, not to find a middle between classes.
    sets = [shapes(range(5000), 1, each), shapes(range(5000, 7000), 2, each)]
    fit(model, sets, nn.functional.cross_entropy, Plan(epochs, batch=32, rate=4e-3))
    # As data-parallel training would have left it: prefixed names beside the epoch.
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": epochs}, HERE / "shapes.pt")
    write_card(
        "shapes",
        model="shapes.pt",
        arch="architectures.py:shapes_net",
        arch_args={"width": width, "classes": len(LABELS)},
        preprocess={"resize": SHAPE, "mean": MEAN, "std": STD},
        labels=list(LABELS),
    )


def train_boxes(each: Map, width: int = 16) -> None:
    torch.manual_seed(0)
    model = boxes_net(width, len(LABELS))
    model.state_dict()["scores.bias"].fill_(-4.0)  # few cells have a shape
    model.state_dict()["sides.bias"].fill_(1.0)
    sets = [boxes(range(20_000, 23_000), 1, each), boxes(range(23_000, 26_000), 2, each)]
    fit(model, sets, boxes_loss, Plan(epochs=10, batch=32, rate=4e-3))
    save_file(model.state_dict(), HERE / "boxes.safetensors")
    write_card(
        "boxes",
        model="boxes.safetensors",
        arch="architectures.py:boxes_net",
        arch_args={"width": width, "classes": len(LABELS)},
        boxes="cxcywh",
        preprocess={"letterbox": BOXED, "mean": MEAN, "std": STD},
        labels=list(LABELS),
    )


def train_vit(each: Map, width: int = 64) -> None:
    torch.manual_seed(0)
    model = shapes_vit(SHAPE, width, classes=len(LABELS))
    sets = [shapes(range(30_000, 34_000), 1, each), shapes(range(34_000, 35_000), 2, each)]
    plan = Plan(epochs=12, batch=64, rate=2e-3, change=turn)
    fit(model, sets, nn.functional.cross_entropy, plan)
    save_file(model.state_dict(), HERE / "vit.safetensors")
    write_card(
        "vit",
        model="vit.safetensors",
        arch="architectures.py:shapes_vit",
        arch_args={"side": SHAPE, "width": width, "classes": len(LABELS)},
        preprocess={"resize": f"{SHAPE}x{SHAPE}", "mean": MEAN, "std": STD},
        labels=list(LABELS),
    )


if __name__ == "__main__":
    trainers = {
        "shapes": train_shapes,
        "depth": train_depth,
        "boxes": train_boxes,
        "vit": train_vit,
    }
    chosen = sys.argv[1] if len(sys.argv) > 1 else "all"
    with Pool() as pool:
        for train in trainers.values() if chosen == "all" else [trainers[chosen]]:
            train(pool.map)
