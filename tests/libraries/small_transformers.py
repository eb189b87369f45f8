"""Models of transformers, as small as their configurations allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import transformers as t


@dataclass(frozen=True)
class Small:
    """A small model, and what it takes and gives."""

    model: Any
    side: int
    """The side of its images in pixels."""
    output: str = "logits"
    """The output that it is for."""


TRANSFORMER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
}
FOUR_LAYERS = TRANSFORMER | {"num_hidden_layers": 4}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
CONVOLUTIONS = {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
PYRAMID = {
    "hidden_sizes": [8, 8, 12, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
}
DETECTOR = {
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "d_model": 16,
    "num_queries": 5,
}
PARTS = {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}


def _depth_anything() -> Small:
    backbone = t.Dinov2Config(
        **FOUR_LAYERS | {"image_size": 28, "patch_size": 7},
        out_features=STAGES,
        reshape_hidden_states=False,
    )
    config = t.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        patch_size=7,
        head_hidden_size=8,
        **PARTS,
    )
    return Small(t.DepthAnythingForDepthEstimation(config), 42, "predicted_depth")


def _zoedepth() -> Small:
    backbone = t.BeitConfig(
        **FOUR_LAYERS,
        out_features=STAGES,
        reshape_hidden_states=False,
        use_relative_position_bias=True,
    )
    config = t.ZoeDepthConfig(
        backbone_config=backbone,
        backbone_hidden_size=16,
        bottleneck_features=8,
        num_relative_features=8,
        bin_embedding_dim=8,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.1, "max_depth": 10.0, "name": "nyu"}],
        **PARTS,
    )
    return Small(t.ZoeDepthForDepthEstimation(config), 32, "predicted_depth")


def _detr() -> Small:
    config = t.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=t.ResNetConfig(**CONVOLUTIONS, out_features=["stage4"]),
        **DETECTOR,
    )
    return Small(t.DetrForObjectDetection(config), 64)


def _dpt() -> Small:
    config = t.DPTConfig(**FOUR_LAYERS, backbone_out_indices=[0, 1, 2, 3], is_hybrid=False, **PARTS)
    return Small(t.DPTForDepthEstimation(config), 32, "predicted_depth")


SMALL: dict[str, Callable[[], Small]] = {
    "ViT": lambda: Small(t.ViTForImageClassification(t.ViTConfig(**TRANSFORMER)), 32),
    "DeiT": lambda: Small(t.DeiTForImageClassification(t.DeiTConfig(**TRANSFORMER)), 32),
    "BEiT": lambda: Small(
        t.BeitForImageClassification(t.BeitConfig(**TRANSFORMER, use_relative_position_bias=True)),
        32,
    ),
    "DINOv2": lambda: Small(
        t.Dinov2ForImageClassification(
            t.Dinov2Config(**TRANSFORMER | {"image_size": 28, "patch_size": 7})
        ),
        42,
    ),
    "Swin": lambda: Small(
        t.SwinForImageClassification(
            t.SwinConfig(
                image_size=32,
                patch_size=4,
                embed_dim=8,
                depths=[1, 1],
                num_heads=[1, 2],
                window_size=4,
            )
        ),
        32,
    ),
    "ConvNeXt": lambda: Small(
        t.ConvNextForImageClassification(
            t.ConvNextConfig(hidden_sizes=[8, 12], depths=[1, 1], num_stages=2)
        ),
        32,
    ),
    "ResNet": lambda: Small(t.ResNetForImageClassification(t.ResNetConfig(**CONVOLUTIONS)), 64),
    "MobileNetV2": lambda: Small(
        t.MobileNetV2ForImageClassification(
            t.MobileNetV2Config(depth_multiplier=0.25, image_size=32)
        ),
        32,
    ),
    "EfficientNet": lambda: Small(
        t.EfficientNetForImageClassification(
            t.EfficientNetConfig(
                width_coefficient=0.25, depth_coefficient=0.3, image_size=32, hidden_dim=320
            )
        ),
        32,
    ),
    "SegFormer": lambda: Small(
        t.SegformerForSemanticSegmentation(t.SegformerConfig(decoder_hidden_size=16, **PYRAMID)),
        64,
    ),
    "DPT": _dpt,
    "Depth-Anything": _depth_anything,
    "GLPN": lambda: Small(
        t.GLPNForDepthEstimation(t.GLPNConfig(decoder_hidden_size=8, **PYRAMID)),
        64,
        "predicted_depth",
    ),
    "ZoeDepth": _zoedepth,
    "DETR": _detr,
    "YOLOS": lambda: Small(
        t.YolosForObjectDetection(
            t.YolosConfig(**TRANSFORMER | {"image_size": [32, 32]}, num_detection_tokens=5)
        ),
        32,
    ),
}
"""The models by name; each is built anew."""
