"""`--arch torchvision:NAME`, `timm:NAME` and `smp:NAME`, and weights without `--arch`."""

from __future__ import annotations

import importlib
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gradviz.model.formats.factory import build_network
from gradviz.model.libraries.torchvision import options_for
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
        ("regnet_y_400mf", {}, "--arch torchvision:regnet_y_400mf"),
        ("googlenet", {"init_weights": False}, "--arch torchvision:googlenet"),
        (
            "ssdlite320_mobilenet_v3_large",
            {"weights_backbone": None},
            "--arch torchvision:ssdlite320_mobilenet_v3_large",
        ),
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
    state = torchvision_net(name, **arguments).state_dict()
    words = options_for({f"module.{key}": value for key, value in state.items()}, "net.pth")
    assert " ".join(words) == found


def test_other_weights_are_not(no_network: None) -> None:
    with torch.device("meta"):
        state = torchvision_net("squeezenet1_1").state_dict()
    state["features.0.weight"] = torch.zeros(1)
    assert options_for(state, "net.pth") == []


def test_the_answer_can_be_copied(
    gradviz: Gradviz, tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the whole command; with it, the gradient is that of the network."""
    torch.manual_seed(0)
    net = torchvision_net("squeezenet1_1", num_classes=3).eval()
    torch.save({"state_dict": net.half().state_dict()}, "my net.pth")
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    np.save("photo.npy", x[0].detach().numpy())
    command = ["saliency", "my net.pth", "photo.npy", "--seed", "class:2"]
    monkeypatch.setattr(sys, "argv", ["gradviz", *command])

    result = gradviz(*command)

    failed(result, 2, "they fit a model of torchvision: run gradviz saliency 'my net.pth' photo")
    result = gradviz(*shlex.split(result.stderr.partition("run gradviz ")[2]))
    assert result.exit_code == 0, result.stderr
    (expected,) = torch.autograd.grad(net.float()(x)[:, 2].sum(), x)
    (file,) = (tmp_path / "gradviz-out").rglob("gradient.npy")
    distance = np.linalg.norm(np.load(file) - expected[0].numpy())
    assert float(expected.norm()) > 0 and distance <= 1e-5 * float(expected.norm())

    monkeypatch.setattr(sys, "argv", ["gradviz", *command, "x" * 1000])
    failed(
        gradviz("inspect", "my net.pth"),
        2,
        "torchvision: add --arch torchvision:squeezenet1_1 --arch-arg",
    )


@pytest.mark.parametrize(
    ("arch", "recipe"),
    [
        ("torchvision:squeezenet1_1", "torchvision:SqueezeNet1_1_Weights.IMAGENET1K_V1"),
        ("timm:test_resnet", "timm:test_resnet.r160_in1k"),
    ],
)
def test_the_preprocessing_of_weights_brings_the_names_of_their_classes(
    gradviz: Gradviz, images: Path, no_network: None, arch: str, recipe: str
) -> None:
    """They are those of a network with as many classes; the label of class 285 is Egyptian cat."""
    for count, code in ((1000, 0), (999, 2)):
        net = build_network(arch, {"num_classes": count})
        torch.save(net.state_dict(), f"{count}.pth")
        command = [f"{count}.pth", images / "room_01.png", "--arch", arch]
        command += ["--arch-arg", f"num_classes={count}", "--preprocess", recipe]
        result = gradviz("saliency", *command, "--seed", "class:Egyptian cat", "-o", str(count))
        assert result.exit_code == code, result.stderr
        assert ("class 285 (Egyptian cat)" in result.stdout) == (count == 1000)
        assert ("the model has no class names" in result.stderr) == (count != 1000)


def test_weights_under_torchvision_s_own_name_have_their_preprocessing(no_network: None) -> None:
    state = torchvision_net("resnet50").state_dict()
    words = options_for(state, "resnet50-11ad3fa6.pth")
    assert words[2:] == ["--preprocess", "torchvision:ResNet50_Weights.IMAGENET1K_V2"]
    assert options_for(state, "resnet50-0676ba61.pth")[3] == f"{words[3][:-1]}1"
    assert options_for(state, "my_resnet50.pth") == words[:2]


def test_torchvision_s_own_googlenet_normalises_its_input_again(no_network: None) -> None:
    """Its builder says so if it is given the weights, and not otherwise."""
    state = torchvision_net("googlenet", init_weights=False).state_dict()
    words = options_for(state, "googlenet-1378be20.pth")
    assert words[2:4] == ["--arch-arg", "transform_input=true"]
