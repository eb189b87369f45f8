"""Receptive fields of networks of tokens: attention is global, windows of attention are not."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

import gradviz as package
from gradviz.backward.layer_outputs import ActivationRecorder
from gradviz.backward.layers import run_with_layers
from gradviz.model.model import Model
from tests.libraries.conftest import randomise
from tests.libraries.small_transformers import SMALL

PATCH, WINDOW, SIDE = 4, 2, 32


def swin() -> nn.Module:
    """Two blocks of windows of 2×2 tokens, the second one shifted, then one of half the size."""
    net: nn.Module = timm.create_model(
        "swin_tiny_patch4_window7_224",
        **{"embed_dim": 4, "depths": (2, 1), "num_heads": (1, 1), "window_size": WINDOW},
        img_size=SIDE,
        num_classes=3,
    )
    return net.eval()


@pytest.fixture(scope="module")
def windows() -> Model:
    net = swin()
    randomise(net)
    return package.wrap(net)


def changed_by(net: nn.Module, layer: str, x: int, y: int) -> Tensor:
    """[rows, columns] of patches: those whose change comes out at one place of a layer's map, by
    forward passes alone."""
    torch.manual_seed(1)
    count = SIDE // PATCH
    image = torch.rand(1, 3, SIDE, SIDE)

    def output(image: Tensor) -> Tensor:
        recorder = ActivationRecorder(net)
        _, layers = run_with_layers(net, net, image.clone().requires_grad_(), recorder)
        activation = layers[layer].activation
        assert activation is not None
        return layers[layer].as_maps(activation)[0, :, y, x]

    before = output(image)
    found = torch.zeros(count, count, dtype=torch.bool)
    for row in range(count):
        for column in range(count):
            patch = image.clone()
            patch[..., row * PATCH :, column * PATCH :][..., :PATCH, :PATCH] += torch.randn(1)
            found[row, column] = not torch.equal(output(patch), before)
    return found


@pytest.mark.parametrize(
    "layer, pixel", [("layers.0.blocks.0", (3, 6)), ("layers.0.blocks.1", (4, 5))]
)
def test_a_window_of_attention_has_the_field_that_changes_find(
    windows: Model, layer: str, pixel: tuple[int, int]
) -> None:
    found = package.receptive_field(
        windows, pixels=[pixel], layer=layer, input_size=(SIDE, SIDE), samples=1
    )
    (field,) = found.fields
    assert field.structural.status == "exact" and found.geometry.through is None
    patches = torch.from_numpy(field.structural.mask).view(8, PATCH, 8, PATCH)
    assert torch.equal(patches.amax((1, 3)), changed_by(windows.module, layer, *pixel))
    assert torch.equal(patches.amax((1, 3)), patches.amin((1, 3)))


def test_the_first_block_of_swin_sees_28_pixels_at_224() -> None:
    net = timm.create_model(
        "swin_tiny_patch4_window7_224", embed_dim=4, depths=(2,), num_heads=(1,), num_classes=3
    )
    sizes = {}
    for layer in ("layers.0.blocks.0", "layers.0.blocks.1"):
        geometry = package.receptive_field(
            net.eval(), layer=layer, input_size=(224, 224), samples=1
        ).geometry
        assert geometry.x is not None and geometry.x == geometry.y and geometry.through is None
        assert geometry.x.shift == 28 and geometry.x.stride == 4
        sizes[layer] = geometry.x.size
    # A shifted window lies on two by two of those before it.
    assert sizes == {"layers.0.blocks.0": 28, "layers.0.blocks.1": 56}


@pytest.mark.parametrize("library", ["timm", "timm, written out", "transformers"])
def test_attention_is_global_and_named(library: str) -> None:
    if library == "transformers":
        net, layer = SMALL["ViT"]().model, "vit.layers.0"
    else:
        net = timm.create_model(
            "vit_tiny_patch16_224", embed_dim=8, depth=1, num_heads=2, patch_size=8, img_size=32
        )
        layer = "blocks.0"
        net.blocks[0].attn.fused_attn = library == "timm"
    randomise(net.eval())
    found = package.receptive_field(net, layer=layer, input_size=(32, 32), samples=1)
    assert found.geometry.x is None and found.geometry.y is None
    assert found.geometry.through == "attention"
    assert found.fields[0].structural.mask.all() and found.fields[0].local.all()
