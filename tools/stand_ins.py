"""The photo and the models of a reader, for the commands of pages that name them.

Each is built once a process, with random weights, as the library writes it.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from tests.helpers.torchvision_here import make_torchvision_importable

ROOT = Path(__file__).resolve().parents[1]

MYNET = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
        )
"""


def put_stand_ins(text: str, folder: Path) -> None:
    """Put those that a page names, and does not write itself, into the folder where it is run."""
    for name in STAND_INS:
        if name in text and f"\n# {name}\n" not in text:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(_built(name))


@cache
def _place() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@cache
def _built(name: str) -> Path:
    path = Path(_place().name, Path(name).name)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that use what others deprecate
        torch.manual_seed(0)
        STAND_INS[name](path)
    return path


def _photo(path: Path) -> None:
    with Image.open(ROOT / "sample_images" / "room_02.png") as image:
        image.convert("RGB").save(path)


def _transformers_folder(path: Path) -> None:
    make_torchvision_importable()
    library: Any = import_module("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = library.ViTConfig(
        **sizes,
        intermediate_size=64,
        image_size=64,
        patch_size=8,
        id2label={0: "tabby, tabby cat", 1: "Egyptian cat", 2: "tench, Tinca tinca"},
    )
    library.ViTForImageClassification(config).save_pretrained(path)
    library.ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(path)


def _timm_folder(path: Path) -> None:
    make_torchvision_importable()
    timm: Any = import_module("timm")
    labels = {"label_names": ["tabby", "Egyptian cat", "tench"]}
    net = timm.create_model("test_vit", num_classes=3)
    timm.models.save_for_hf(net, path, model_config=labels)


def _torchvision_weights(path: Path) -> None:
    make_torchvision_importable()
    models: Any = import_module("torchvision.models")
    torch.save(models.resnet50(weights=None).half().state_dict(), path)


def _code(path: Path) -> None:
    path.write_text(MYNET, encoding="utf-8")


def _checkpoint(path: Path) -> None:
    names: dict[str, Any] = {}
    exec(MYNET, names)
    net: nn.Module = names["Net"]()
    weights = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"epoch": 12, "pytorch-lightning_version": "2.5.0", "state_dict": weights}, path)


STAND_INS: dict[str, Callable[[Path], None]] = {
    "photo.jpg": _photo,
    "path/to/hf-folder": _transformers_folder,
    "path/to/timm-folder": _timm_folder,
    "resnet50-11ad3fa6.pth": _torchvision_weights,
    "epoch=12.ckpt": _checkpoint,
    "mynet.py": _code,
}
"""How each is made, by the path that pages give it."""
