"""Relevance of whole networks, against zennit and against the rules written by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vgg import VGG, make_layers

import gradviz
from tests.libraries import relevance_by_hand as by_hand
from tests.libraries.conftest import randomise
from tests.libraries.small_transformers import SMALL

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from zennit.attribution import Gradient
    from zennit.composites import EpsilonPlusFlat
    from zennit.torchvision import ResNetCanonizer, VGGCanonizer

pytestmark = pytest.mark.timm

K = 3
"""The class that is asked about, of ten."""


def vgg(batch_norm: bool) -> nn.Module:
    net: nn.Module = VGG(make_layers([8, "M", 16, 16, "M"], batch_norm), init_weights=False)
    net.classifier = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))
    return net


ZENNIT: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "vgg": (lambda: vgg(batch_norm=False), VGGCanonizer),
    "vgg with batch norm": (lambda: vgg(batch_norm=True), VGGCanonizer),
    "resnet of basic blocks": (
        lambda: ResNet(BasicBlock, [2, 1, 1, 1], num_classes=10),
        ResNetCanonizer,
    ),
    "resnet of bottlenecks": (
        lambda: ResNet(Bottleneck, [2, 1, 1, 1], num_classes=10),
        ResNetCanonizer,
    ),
}


def trained(net: nn.Module) -> nn.Module:
    """Weights, biases and statistics that are not those of a fresh network."""
    for name, parameter in net.named_parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, -0.5, 0.5)
            parameter.data += "norm" in name or "bn" in name
        elif parameter.dim() == 2:
            nn.init.kaiming_normal_(parameter)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.eps = 0.0  # zennit leaves a division by √(1 + eps) where it merged a batch norm
    return net.double().eval().requires_grad_(False)


@pytest.fixture
def image() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(3, 48, 48, dtype=torch.float64).float().double()


def relevance(net: nn.Module, image: Tensor) -> Any:
    model = gradviz.wrap(net, precision="float64")
    (found,) = gradviz.saliency(model, image.float(), f"class:{K}", method="lrp")
    assert found.conservation is not None and abs(found.conservation) <= 1e-9 * abs(found.score)
    return found


def check(found: Any, expected: Tensor) -> None:
    assert expected.any()
    assert np.abs(found.array - expected.numpy()).max() <= 1e-6 * float(expected.abs().max())


@pytest.mark.parametrize("name", ZENNIT)
def test_zennit_agrees(name: str, image: Tensor) -> None:
    torch.manual_seed(0)
    make, canonizer = ZENNIT[name]
    net = trained(make())
    found = relevance(net, image)
    one = torch.eye(10, dtype=torch.float64)[K]
    with Gradient(net, EpsilonPlusFlat(canonizers=[canonizer()])) as attributor:
        _, expected = attributor(image[None], lambda output: output * one)
    check(found, expected[0])


def test_a_mobilenet_by_hand(image: Tensor) -> None:
    torch.manual_seed(0)
    net: Any = trained(torchvision.models.mobilenet_v2(num_classes=10, width_mult=0.25))
    found = relevance(net, image)
    expected, biases = by_hand.mobilenet(net, image[None], K)
    check(found, expected[0])
    assert found.absorbed["biases"] == pytest.approx(biases, rel=1e-6)


@pytest.mark.transformers
@pytest.mark.parametrize(
    "name", ["BEiT", "ConvNeXt", "DETR", "DINOv2", "DPT", "EfficientNet", "SegFormer", "Swin"]
)
def test_nothing_of_the_score_is_lost_in_networks_of_transformers(name: str) -> None:
    small = SMALL[name]()
    randomise(small.model)
    model = gradviz.wrap(small.model.eval(), precision="float64", output=small.output)
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    (found,) = gradviz.saliency(model, image, "ones", method="lrp")
    absorbed = found.absorbed or {}
    arrived = float(found.array.sum(dtype=np.float64))
    assert found.array.any() and absorbed["biases"]
    whole = sum(map(abs, absorbed.values())) + abs(arrived)
    assert abs(found.score - arrived - sum(absorbed.values())) <= 1e-6 * whole


@pytest.mark.parametrize("fused", [True, False])
def test_a_vision_transformer_by_hand(fused: bool, image: Tensor) -> None:
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "patch_size": 16, "img_size": 48}
    net: Any = trained(timm.create_model("vit_tiny_patch16_224", num_classes=10, **sizes))
    for block in net.blocks:
        block.attn.fused_attn = fused
    found = relevance(net, image)
    expected, absorbed = by_hand.vit(net, image[None], K)
    check(found, expected[0])
    for cause, amount in absorbed.items():
        assert found.absorbed[cause] == pytest.approx(amount, rel=1e-5), cause
