"""The preprocessing that torchvision and timm keep for their weights, as recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradviz.errors import UsageError
from gradviz.image.preprocess import Preprocess, preprocess_from
from gradviz.model.foreign import foreign_code
from gradviz.model.libraries.library import TIMM, TORCHVISION, offline
from gradviz.text import nearest


def torchvision_recipe(name: str) -> Preprocess:
    """Translate the transforms of weights of torchvision. Nothing is downloaded.

    Args:
        name: the weights, such as `ResNet50_Weights.IMAGENET1K_V2`.

    Raises:
        UsageError: there are no such weights, or they take no images.
        ModelError: torchvision is missing.
    """
    where = f"torchvision:{name}"
    models = TORCHVISION.module(where, "models")
    try:
        weights = models.get_weight(name)
    except Exception:  # whatever a name that means nothing leads to
        raise UsageError(f"{where}: {_hint(models, name)}") from None
    with foreign_code(f"{where}: has no transforms"):
        preset = weights.transforms()
    kind = type(preset).__name__
    if kind not in _PRESETS:
        raise UsageError(f"{where}: {kind} does not take one image: give a recipe in a YAML file")
    keys: dict[str, object] = {"levels": "bytes"}
    for field, key in _PRESETS[kind].items():
        value = getattr(preset, field)
        if value is not None:
            keys[key] = _side(value) if key in ("resize", "crop") else value
    if "crop" in keys:
        keys["crop_rule"] = "torchvision"
    if "interpolation" in keys:
        keys["interpolation"] = preset.interpolation.value
    return preprocess_from(keys, where)


_NUMBERS = {"mean": "mean", "std": "std"}
_RESIZED = {"resize_size": "resize", "interpolation": "interpolation"}
_PRESETS: dict[str, Mapping[str, str]] = {
    "ImageClassification": {**_RESIZED, "crop_size": "crop", **_NUMBERS},
    "SemanticSegmentation": {**_RESIZED, **_NUMBERS},
    "ObjectDetection": {},
}
"""The presets that take one image: the key of a recipe that each of their fields is."""


def _hint(models: Any, name: str) -> str:
    """Name the weights that may be meant."""
    kind, _, _ = name.partition(".")
    enums = {enum.__name__: enum for enum in map(models.get_model_weights, models.list_models())}
    if kind in enums:
        return f"expected one of {', '.join(f'{kind}.{w.name}' for w in enums[kind])}"
    return f"expected WEIGHTS.NAME; {nearest(kind, enums, 'such as ResNet50_Weights.DEFAULT')}"


def _side(value: list[int]) -> object:
    """Read a list of one side, or of height and width."""
    return value[0] if len(value) == 1 else value[::-1]


def timm_recipe(name: str) -> Preprocess:
    """Translate the evaluation transform of a model of timm. Nothing is downloaded.

    Args:
        name: the model, also with a tag, such as `resnet50.a1_in1k`.

    Raises:
        UsageError: there is no such model.
        ModelError: timm is missing.
    """
    where = f"timm:{name}"
    timm = TIMM.module(where)
    with foreign_code(f"{where}: timm cannot describe it"), offline():
        known = timm.is_model(name)
        config = timm.get_pretrained_cfg(name, allow_unregistered=False) if known else None
    if config is None:
        raise UsageError(f"{where}: {nearest(name, timm.list_models(), 'timm has no such model')}")
    return recipe_of_timm(config.to_dict(), where)


def recipe_of_timm(described: Mapping[str, object], where: str) -> Preprocess:
    """Translate timm's description of the images that weights were trained with.

    Args:
        described: the `pretrained_cfg`.
        where: the beginning of messages.

    Raises:
        UsageError: a value is wrong.
        ModelError: timm is missing, or refuses the description.
    """
    data = TIMM.module(where, "data")
    with foreign_code(f"{where}: timm cannot follow it"):
        # timm refuses a description without a key, and takes its defaults for one without others.
        found = data.resolve_data_config(pretrained_cfg={"": None, **described})
        return preprocess_from(_evaluation(found), where)


def _evaluation(found: Mapping[str, Any]) -> dict[str, object]:
    """Return the keys of the evaluation transform of a resolved description."""
    channels, height, width = found["input_size"]
    sides = [width, height]
    keys: dict[str, object] = {
        **{"levels": "bytes", "crop": sides, "crop_rule": "torchvision"},
        **{key: found[key] for key in ("crop_pct", "interpolation", "mean", "std")},
    }
    if channels == 1:
        keys["channels"] = "gray"
    match found["crop_mode"]:
        case "squash":
            return keys | {"resize": sides}
        case "border":
            border = [round(255 * value) for value in found["mean"]]
            return keys | {"resize": sides, "keep_aspect": "inside", "pad_value": border}
    if width == height:
        return keys | {"resize": width}
    return keys | {"resize": sides, "keep_aspect": "cover"}
