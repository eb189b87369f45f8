"""Measured geometry against published numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from tests.helpers import topologies
from tests.helpers.geometry import geometry

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "VGG-16": (topologies.vgg16, 212, 32),
    "AlexNet": (topologies.alexnet, 195, 32),
    "ResNet-18": (lambda: topologies.resnet((2, 2, 2, 2), False), 435, 32),
    "ResNet-34": (lambda: topologies.resnet((3, 4, 6, 3), False), 899, 32),
    "ResNet-50": (lambda: topologies.resnet((3, 4, 6, 3), True), 427, 32),
    "ResNet-101": (lambda: topologies.resnet((3, 4, 23, 3), True), 971, 32),
    "ResNet-152": (lambda: topologies.resnet((3, 8, 36, 3), True), 1451, 32),
    "ResNet-50, stride on the first 1×1": (
        lambda: topologies.resnet((3, 4, 6, 3), True, stride_on_first=True),
        483,
        32,
    ),
    "MobileNet-v2": (topologies.mobilenet_v2, 491, 32),
    "PatchGAN": (topologies.patchgan, 70, 8),
}
"""Sizes and strides as published, or as worked out by hand from the papers' tables."""


@pytest.mark.parametrize("name", NETWORKS)
def test_published_sizes(name: str) -> None:
    make, size, stride = NETWORKS[name]
    (found,) = geometry(make())
    described = found.as_dict()
    assert described["size"] == [size, size]
    assert described["stride"] == [stride, stride]


def test_the_layers_of_resnet_50() -> None:
    names = ["0", "1", "2", "3", "4", "5"]
    found = geometry(topologies.resnet((3, 4, 6, 3), True), names)
    assert [each.x and each.x.size for each in found] == [7, 11, 35, 91, 267, 427]
    assert [each.x and each.x.stride for each in found] == [2, 4, 4, 8, 16, 32]
