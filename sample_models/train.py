"""Train the sample models on freshly rendered pictures and write them with their cards.

python sample_models/train.py [depth|shapes|all]
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import Pool
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))
from sample_images.render import LABELS
from sample_models.architectures import depth_net, shapes_net
from sample_models.data import MEAN, ROOM, SHAPE, STD, Map, rooms, shapes, to_input

HERE = Path(__file__).parent
Batches = list[tuple[Tensor, Tensor]]

warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)


def disturb(image: Tensor) -> Tensor:
    """Noise and a colour cast: a model that ignores both has calmer gradients."""
    count = len(image)
    gain = 1 + 0.15 * torch.randn(count, 3, 1, 1).clamp(-2, 2)
    shift = 0.15 * torch.randn(count, 1, 1, 1).clamp(-2, 2)
    return image * gain + shift + torch.rand(count, 1, 1, 1) * 0.4 * torch.randn_like(image)


def mirror(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the batches left to right; a class has no sides."""
    if torch.rand(()) < 0.5:
        return image, target
    return image.flip(3), target.flip(3) if target.dim() == 4 else target


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


def fit(
    model: nn.Module,
    sets: Batches,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    batch: int,
    rate: float,
) -> None:
    """AdamW with one warm-up and one decay."""
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = epochs * sum(-(-len(images) // batch) for images, _ in sets)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for images, targets in shuffled(sets, batch):
            image, target = mirror(disturb(to_input(images)), targets)
            image = image.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):  # more than twice as fast
                output = model(image)
            loss = loss_of(output.float(), target)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += len(images) * loss.item()
        mean = total / sum(len(images) for images, _ in sets)
        print(f"epoch {epoch}/{epochs}: loss {mean:.4f}, {time.perf_counter() - start:.0f} s")
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
    fit(model, sets, depth_loss, epochs=12, batch=16, rate=4e-3)
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
    fit(model, sets, nn.functional.cross_entropy, epochs, batch=32, rate=4e-3)
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


if __name__ == "__main__":
    trainers = {"shapes": [train_shapes], "depth": [train_depth]}
    trainers["all"] = [train_shapes, train_depth]
    with Pool() as pool:
        for train in trainers[sys.argv[1] if len(sys.argv) > 1 else "all"]:
            train(pool.map)
