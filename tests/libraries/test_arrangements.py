"""Where the elements of layers lie, in networks of transformers and timm."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import timm
import torch
import transformers as t
from torch import Tensor, nn

from gradviz.backward.layer_outputs import ActivationRecorder
from gradviz.backward.layers import Layer, run_with_layers
from gradviz.model.outputs import select_output
from tests.libraries.conftest import randomise
from tests.libraries.small_transformers import SMALL, TRANSFORMER

SIDE = 64
"""The pixels along a side of the image."""

TINY = {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4, "img_size": SIDE}
PLAIN = {"embed_dim": 16, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": SIDE}

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vit": lambda: timm.create_model("vit_tiny_patch16_224", **PLAIN),
    "deit distilled": lambda: timm.create_model("deit_tiny_distilled_patch16_224", **PLAIN),
    "dinov2 with registers": lambda: timm.create_model(
        "vit_small_patch14_reg4_dinov2", **PLAIN, reg_tokens=4
    ),
    "swin": lambda: timm.create_model("swin_tiny_patch4_window7_224", **TINY),
    "swin v2": lambda: timm.create_model("swinv2_tiny_window8_256", **TINY),
    "maxvit": lambda: timm.create_model("maxvit_rmlp_pico_rw_256", img_size=SIDE),
    "pvt": lambda: timm.create_model("pvt_v2_b0"),
    "convnext": lambda: timm.create_model("convnext_atto"),
    "beit": lambda: timm.create_model("beit_base_patch16_224", **PLAIN),
    "gcvit": lambda: timm.create_model("gcvit_xxtiny", img_size=SIDE),
    "nest": lambda: timm.create_model("nest_tiny_jx", img_size=SIDE),
    "hiera": lambda: timm.create_model("hiera_tiny_224", img_size=SIDE, stages=(1, 1, 1, 1)),
    "davit": lambda: timm.create_model("davit_tiny", depths=(1, 1, 1, 1)),
    "volo": lambda: timm.create_model("volo_d1_224", img_size=SIDE),
    "segformer": lambda: SMALL["SegFormer"]().model,
    "dpt": lambda: SMALL["DPT"]().model,
    "yolos": lambda: SMALL["YOLOS"]().model,
    "clip's vision tower": lambda: t.CLIPVisionModelWithProjection(
        t.CLIPVisionConfig(**TRANSFORMER, projection_dim=8)
    ),
}


SPREADING = {"pvt", "segformer", "maxvit", "dpt", "gcvit", "nest", "hiera", "davit", "volo"}
"""Those whose kernels with a stride, or interpolation, carry a change to cells nearby."""


def cut(net: nn.Module) -> None:
    """Silence attention and the outer weights of kernels, so that a change stays in its tokens."""

    def silent(_module: nn.Module, _given: object, output: Any) -> Any:
        if isinstance(output, Tensor):
            return output * 0
        return tuple(each * 0 if isinstance(each, Tensor) else each for each in output)

    for name, module in net.named_modules():
        kind = type(module).__name__
        if kind.endswith(("Attention", "Attn", "AttentionCl", "AttentionGlobal")) and name:
            module.register_forward_hook(silent)
        if isinstance(module, nn.Conv2d) and module.stride == (1, 1):
            middle = module.kernel_size[0] // 2
            kept = module.weight[..., middle, middle].clone()
            module.weight.zero_()[..., middle, middle] = kept


@pytest.mark.parametrize("name", NETWORKS)
def test_a_token_lies_where_a_change_of_its_patch_comes_out(name: str) -> None:
    net = NETWORKS[name]().eval()
    randomise(net)
    net.requires_grad_(False)
    cut(net)
    key = "image_embeds" if name == "clip's vision tower" else None
    side = SIDE if name not in {"dpt", "yolos", "clip's vision tower"} else 32

    def layers_of(x: Tensor) -> Mapping[str, Layer]:
        recorder = ActivationRecorder(net)
        return run_with_layers(net, lambda x: select_output(net(x), key, 1), x, recorder)[1]

    torch.manual_seed(0)
    x = torch.rand(1, 3, side, side)
    before = layers_of(x.clone().requires_grad_())
    top, left = side // 2, side // 4
    x[..., top : top + 8, left : left + 8] += 5 * torch.randn(3, 8, 8)
    after = layers_of(x.requires_grad_())
    tokens = 0
    for place, layer in before.items():
        one, other = layer.activation, after[place].activation
        if "attn." in place or "attention." in place:
            continue  # mixed, and silenced only where it leaves the block
        if not layer.spatial or one is None or other is None or torch.equal(one, other):
            continue
        if name == "dpt" and re.match("neck$|neck.fusion_stage|head", place):
            continue  # maps of four sizes are added up, of which one has two places a side
        change = (layer.as_maps(other) - layer.as_maps(one)).double().square().sum((0, 1))
        rows, columns = change.shape
        row, column = divmod(int(change.argmax()), columns)
        far = int(name in SPREADING)
        for cell, count, start in ((row, rows, top), (column, columns, left)):
            first, last = start * count // side, (start + 7) * count // side
            assert first - far <= cell <= last + far, place
        tokens += len(layer.shape) == 3
    if name == "gcvit":  # attention with the same queries in every window lies before it
        assert before["stages.3.norm"].spatial
    assert tokens > 5 or name in {"maxvit", "convnext", "swin", "swin v2", "gcvit", "nest"}
