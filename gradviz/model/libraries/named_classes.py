"""The names of classes that torchvision and timm keep for their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gradviz.model.libraries.library import TIMM, TORCHVISION, offline


def torchvision_labels(name: str) -> list[str]:
    """List the names of the classes of weights of torchvision, which exist.

    Args:
        name: the weights, such as `ResNet50_Weights.IMAGENET1K_V2`.
    """
    weights = TORCHVISION.module(f"torchvision:{name}", "models").get_weight(name)
    labels: list[str] = weights.meta.get("categories", [])
    return labels


def timm_labels(name: str) -> list[str]:
    """List the names of the classes of a model of timm, which exists.

    Args:
        name: the model, also with a tag.
    """
    timm = TIMM.module(f"timm:{name}")
    with offline():
        config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    return imagenet_labels(config.to_dict()) or []


def imagenet_labels(described: Mapping[str, object]) -> list[str] | None:
    """List ImageNet's classes in words, if weights were trained for them.

    Args:
        described: the `pretrained_cfg`, with the number of classes.

    Returns:
        None if the name of the weights or their number of classes is not one of ImageNet's.
    """
    data = TIMM.module("timm", "data")
    count, tag = described.get("num_classes"), described.get("tag")
    if not (isinstance(count, int) and isinstance(tag, str) and _OF_IMAGENET.search(tag)):
        return None
    subset = data.infer_imagenet_subset({"num_classes": count})
    found: list[str] | None = subset and data.ImageNetInfo(subset).label_descriptions()
    return found


_OF_IMAGENET = re.compile(r"in(1|12|21|22)k")
"""The part of a tag that names ImageNet, as in `a1_in1k`."""
