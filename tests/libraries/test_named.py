"""`--arch torchvision:NAME`, `timm:NAME` and `smp:NAME`, and weights without `--arch`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gradviz.model.formats.factory import build_network
from gradviz.model.libraries.torchvision import architecture_of
from tests.helpers.commands import Gradviz, failed

pytestmark = pytest.mark.timm


@pytest.mark.parametrize(
    ("arch", "arguments", "kind"),
    [
        ("torchvision:squeezenet1_1", {"num_classes": 3}, "SqueezeNet"),
        ("torchvision:lraspp_mobilenet_v3_large", {"num_classes": 3}, "LRASPP"),
        ("torchvision.models:squeezenet1_1", {"num_classes": 3}, "SqueezeNet"),
        ("torchvision.models:SqueezeNet", {"num_classes": 3}, "SqueezeNet"),
        ("timm:test_resnet.r160_in1k", {"num_classes": 3}, "ResNet"),
        ("timm:create_model", {"model_name": "test_resnet"}, "ResNet"),
        ("smp:FPN", {"encoder_name": "mobilenet_v2"}, "FPN"),
        ("smp:fpn", {"encoder_name": "mobilenet_v2"}, "FPN"),
        ("segmentation_models_pytorch:FPN", {"encoder_name": "mobilenet_v2"}, "FPN"),
    ],
)
def test_a_name_of_the_library_or_a_factory_in_it(
    no_network: None, arch: str, arguments: dict[str, object], kind: str
) -> None:
    assert type(build_network(arch, arguments)).__name__ == kind


@pytest.mark.parametrize(
    ("arch", "hint"),
    [
        ("torchvision:resnet5", "resnet50"),
        ("timm:test_resnets", "test_resnet"),
        ("smp:Unett", "unet"),
    ],
)
def test_a_name_that_no_library_has(gradviz: Gradviz, models: Path, arch: str, hint: str) -> None:
    result = gradviz("inspect", models / "depth.safetensors", "--arch", arch)
    failed(result, 2, "there is no", "did you mean", hint)


@pytest.mark.parametrize(
    ("arch", "package", "extra"),
    [
        ("torchvision:resnet18", "torchvision", "torchvision"),
        ("torchvision.models:resnet18", "torchvision", "torchvision"),
        ("timm:resnet18", "timm", "timm"),
        ("smp:Unet", "segmentation_models_pytorch", "smp"),
    ],
)
def test_a_library_that_is_missing(
    gradviz: Gradviz,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    arch: str,
    package: str,
    extra: str,
) -> None:
    for name in [n for n in sys.modules if f"{n}.".startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    result = gradviz("inspect", models / "depth.safetensors", "--arch", arch)
    failed(result, 3, f"needs {package}, which is not installed: pip install 'gradviz[{extra}]'")


# Weights without --arch ---------------------------------------------------------------------------


def torchvision_net(name: str, **arguments: object) -> nn.Module:
    models: Any = importlib.import_module("torchvision.models")
    made: nn.Module = models.get_model(name, weights=None, **arguments)
    return made


@pytest.mark.parametrize(
    ("name", "arguments", "found"),
    [
        ("squeezenet1_1", {}, "--arch torchvision:squeezenet1_1"),
        (
            "shufflenet_v2_x0_5",
            {"num_classes": 7},
            "--arch torchvision:shufflenet_v2_x0_5 --arch-arg num_classes=7",
        ),
        (
            "deeplabv3_mobilenet_v3_large",
            {"weights_backbone": None, "aux_loss": True},
            "--arch torchvision:deeplabv3_mobilenet_v3_large --arch-arg aux_loss=true",
        ),
    ],
)
def test_weights_of_torchvision_are_recognised(
    no_network: None, name: str, arguments: dict[str, object], found: str
) -> None:
    with torch.device("meta"):
        state = torchvision_net(name, **arguments).state_dict()
    assert architecture_of({f"module.{key}": value for key, value in state.items()}) == found


def test_other_weights_are_not(no_network: None) -> None:
    with torch.device("meta"):
        state = torchvision_net("squeezenet1_1").state_dict()
    state["features.0.weight"] = torch.zeros(1)
    assert architecture_of(state) is None


def test_the_answer_can_be_copied(gradviz: Gradviz, tmp_path: Path, no_network: None) -> None:
    """It names the options; with them, the gradient is that of the network."""
    torch.manual_seed(0)
    net = torchvision_net("squeezenet1_1", num_classes=3).eval()
    torch.save({"state_dict": net.half().state_dict()}, "net.pth")
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    np.save("photo.npy", x[0].detach().numpy())

    result = gradviz("saliency", "net.pth", "photo.npy", "--seed", "class:2")

    answer = "add --arch torchvision:squeezenet1_1 --arch-arg num_classes=3"
    failed(result, 2, answer)
    flags = answer.split()[1:]
    result = gradviz("saliency", "net.pth", "photo.npy", "--seed", "class:2", *flags)
    assert result.exit_code == 0, result.stderr
    (expected,) = torch.autograd.grad(net.float()(x)[:, 2].sum(), x)
    (file,) = (tmp_path / "gradviz-out").rglob("gradient.npy")
    distance = np.linalg.norm(np.load(file) - expected[0].numpy())
    assert float(expected.norm()) > 0 and distance <= 1e-5 * float(expected.norm())
