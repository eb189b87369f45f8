"""The image processors of transformers, as recipes.

The class itself reads the file, so the defaults of what a file leaves out are the class's own. Each
row of `FAMILIES` lists the steps that a class takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from gradviz.arrays import Bytes, Floats
from gradviz.errors import GradvizError, ImageError, UsageError
from gradviz.image.preprocess import Preprocess, Process, preprocess_from
from gradviz.image.read import DEFAULT_MAX_PIXELS
from gradviz.model.foreign import describe_error, foreign_code
from gradviz.model.formats.opened import Beside
from gradviz.model.libraries.contents import Folder, read_json
from gradviz.text import shortened

PLAIN, NESTED = "preprocessor_config.json", "processor_config.json"
"""The file of an image processor alone, and of one beside others, which wins."""

Keys = dict[str, object]
"""Keys of a recipe and their values."""


def recipe_beside(library: Any, folder: Folder) -> Beside:
    """Read the image processor that lies beside the weights.

    It becomes a recipe if its class and its settings are known; otherwise the processor itself
    makes the tensor.

    Args:
        library: transformers.
        folder: the folder of the model.
    """
    found = [name for name in (NESTED, PLAIN) if (folder.path / name).exists()]
    if not found:
        return Beside()
    where = str(folder.path / found[0])
    try:
        contents = {name: read_json(folder.path, name) for name in found}
        if "image_processor" not in contents.get(NESTED, {}):
            if PLAIN not in contents:
                return Beside()  # the processor of a text
            where = str(folder.path / PLAIN)
        with foreign_code(f"{where}: cannot be read as an image processor of transformers"):
            processor = library.AutoImageProcessor.from_pretrained(
                folder.path.resolve(),
                backend="pil",
                local_files_only=True,
                trust_remote_code=False,
            )
            return Beside(recipe_of(processor, where), where)
    except GradvizError as error:
        message = str(error)
        if not message.startswith(str(folder.path)):
            message = f"{where}: {message}"
        return Beside(None, where, shortened(message, 500))


class UnknownError(Exception):
    """A setting that the steps of a recipe cannot follow."""


def recipe_of(processor: Any, where: str) -> Preprocess:
    """Translate an image processor into a recipe.

    Args:
        processor: the processor of transformers.
        where: the beginning of messages.

    Raises:
        UsageError: a setting is wrong.
    """
    name = type(processor).__name__.removesuffix("Pil")
    keys: Keys = {"levels": "bytes", "interpolation": "bilinear"}
    try:
        _check_settings(processor)
        for step in FAMILIES.get(name.removesuffix("ImageProcessor"), (_unknown,)):
            for key, value in step(processor).items():
                if keys.get(key, value) != value and key != "interpolation":
                    raise UnknownError(f"{key} is set twice")
                keys[key] = value
    except UnknownError:
        _check_sizes(processor)
        statistics = _normalised(processor)
        numbers: Keys = {key: statistics[key] for key in ("mean", "std") if key in statistics}
        return preprocess_from(numbers, where).made_by(name, _call(processor, name))
    return preprocess_from(keys, where)


_USED = {
    *("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale"),
    *("rescale_factor", "do_normalize", "image_mean", "image_std", "do_pad", "pad_size"),
    *("crop_pct", "keep_aspect_ratio", "ensure_multiple_of", "size_divisor"),
    *("rescale_offset", "include_top"),
}
"""The settings that the steps below read."""

_IDLE = {
    *("do_convert_rgb", "default_to_square", "return_tensors", "device", "disable_grouping"),
    *("do_reduce_labels", "format", "do_convert_annotations", "return_segmentation_masks"),
}
"""The settings that change no pixel of an RGB picture."""


def _check_settings(processor: Any) -> None:
    names = {*getattr(processor, "_valid_kwargs_names", [])}
    for name in sorted(names & _USED):
        if isinstance(value := getattr(processor, name, None), str):
            raise UsageError(f"{name}: expected no text, got {value!r:.80}")
    for name in names - _USED - _IDLE:
        if getattr(processor, name, None) is not None:
            raise UnknownError(f"{name} is not known")


def _check_sizes(processor: Any) -> None:
    """Refuse sizes that a library would try to make, whatever they are."""
    for name in ("size", "crop_size", "pad_size"):
        sides = dict(getattr(processor, name, None) or {})
        if any(
            isinstance(side, int) and side * side > DEFAULT_MAX_PIXELS for side in sides.values()
        ):
            raise UsageError(f"{name}: expected at most {DEFAULT_MAX_PIXELS} pixels, got {sides}")


def _call(processor: Any, name: str) -> Process:
    """Make the function that lets a processor make the tensor."""

    def process(pixels: Bytes) -> Floats:
        try:
            made = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"].numpy()
        except Exception as error:  # whatever a library raises
            raise ImageError(f"{name} cannot take the image: {describe_error(error)}") from error
        if made.ndim != 4 or len(made) != 1:
            raise UsageError(
                f"{name} makes {list(made.shape)} of an image, expected [1, C, h, w]: give the "
                "steps with --preprocess"
            )
        return np.asarray(made[0], np.float32)

    return process


# The steps of processors --------------------------------------------------------------------------


def _unknown(processor: Any) -> Keys:
    raise UnknownError(f"{type(processor).__name__} is not known")


def _flag(processor: Any, name: str) -> bool:
    value = getattr(processor, name, None)
    if not (value is None or isinstance(value, bool)):
        raise UsageError(f"{name}: expected true or false, got {value!r:.80}")
    return bool(value)


def _filter(processor: Any) -> Keys:
    kinds = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
    kind = getattr(processor, "resample", None)
    if kind is None:
        return {}
    if not isinstance(kind, int):
        raise UsageError(f"resample: expected a number of 0 to 5, got {kind!r:.80}")
    if kind not in kinds:
        raise UnknownError(f"resample {kind} is not known")
    return {"interpolation": kinds[kind]}


def _sides(size: Any) -> list[object]:
    """Return the width and height of a size."""
    return [size.width, size.height]


def _resized(processor: Any) -> Keys:
    if not _flag(processor, "do_resize"):
        return {}
    size, kind = processor.size, _filter(processor)
    if size.shortest_edge and size.longest_edge:
        return {"resize": size.shortest_edge, "longest": size.longest_edge, **kind}
    if size.shortest_edge:
        return {"resize": size.shortest_edge, **kind}
    if size.max_height and size.max_width:
        box = [size.max_width, size.max_height]
        return {"resize": box, "keep_aspect": "inside", "round": "floor", **kind}
    if size.height and size.width:
        return {"resize": _sides(size), **kind}
    raise UnknownError(f"size {size} is not known")


def _resized_in_sixteens(processor: Any) -> Keys:
    keys = _resized(processor)
    return {**keys, "multiple": 16, "round": "floor"} if "longest" in keys else keys


def _resized_by_share(processor: Any) -> Keys:
    if not _flag(processor, "do_resize"):
        return {}
    side, kind = processor.size.shortest_edge, _filter(processor)
    if not isinstance(side, int):
        raise UnknownError("size has no shortest_edge")
    if side >= 384:
        return {"resize": [side, side], **kind}
    share = {"resize": side, "crop_pct": processor.crop_pct, **kind}
    return {**share, "crop": side, "crop_rule": "transformers"}


def _resized_nearly(processor: Any) -> Keys:
    if not _flag(processor, "do_resize"):
        return {}
    if not (processor.size.height and processor.size.width):
        raise UnknownError("size has no height and width")
    keys: Keys = {"resize": _sides(processor.size), **_filter(processor)}
    if _flag(processor, "keep_aspect_ratio"):
        keys["keep_aspect"] = "least"
    return {**keys, "multiple": processor.ensure_multiple_of or 1, "round": "even"}


def _resized_to_multiples(processor: Any) -> Keys:
    if not _flag(processor, "do_resize"):
        return {}
    return {"multiple": processor.size_divisor, "round": "floor", **_filter(processor)}


def _cropped(processor: Any) -> Keys:
    if not _flag(processor, "do_center_crop"):
        return {}
    size = processor.crop_size
    if not (size and size.height and size.width):
        raise UnknownError(f"crop_size {size} is not known")
    return {"crop": _sides(size), "crop_rule": "transformers"}


def _per_channel(value: object) -> object:
    return [value] * 3 if isinstance(value, int | float) else value


def _normalised(processor: Any) -> Keys:
    # Levels are 0 to 255 if they are not rescaled.
    factor = processor.rescale_factor if _flag(processor, "do_rescale") else 1
    keys: Keys = {"rescale": factor}
    if _flag(processor, "do_normalize"):
        keys["mean"] = _per_channel(processor.image_mean)
        keys["std"] = _per_channel(processor.image_std)
    return keys


def _normalised_twice(processor: Any) -> Keys:
    keys = _normalised(processor)
    offset = 1 if _flag(processor, "rescale_offset") and _flag(processor, "do_rescale") else 0
    factor = keys.pop("rescale")
    if not isinstance(factor, int | float):
        raise UsageError(f"rescale_factor: expected a number, got {factor!r:.80}")
    keys["range"] = [-offset, 255 * factor - offset]
    if not _flag(processor, "include_top"):
        return keys
    std = _per_channel(processor.image_std)
    if not isinstance(std, list | tuple) or not all(isinstance(s, int | float) for s in std):
        raise UsageError(f"image_std: expected numbers, got {std!r:.80}")
    return {**keys, "std": [s * s for s in std] if "mean" in keys else std}


def _padded(processor: Any) -> Keys:
    size = getattr(processor, "pad_size", None)
    if not _flag(processor, "do_pad") or size is None:
        return {}  # to the largest of a batch, which is the image itself
    return {"pad": _sides(size), "order": "normalise,pad"}


def _padded_around(processor: Any) -> Keys:
    step = getattr(processor, "size_divisor", None)
    if not _flag(processor, "do_pad") or step is None:
        return {}
    return {"pad": f"multiple:{step}", "pad_at": "around", "order": "normalise,pad"}


_PLAIN = (_resized, _cropped, _normalised, _padded)
_UNPADDED = (_resized, _cropped, _normalised)
_DETECTOR = (_resized, _normalised, _padded)

FAMILIES: dict[str, tuple[Callable[[Any], Keys], ...]] = {
    "Beit": _UNPADDED,
    "Bit": _PLAIN,
    "Blip": _PLAIN,
    "CLIP": _PLAIN,
    "ChineseCLIP": _PLAIN,
    "ConditionalDetr": _DETECTOR,
    "ConvNext": (_resized_by_share, _cropped, _normalised),
    "DPT": (_resized_nearly, _normalised, _padded_around),
    "DeformableDetr": _DETECTOR,
    "DeiT": _PLAIN,
    "Detr": _DETECTOR,
    "EfficientNet": (_resized, _cropped, _normalised_twice),
    "GLPN": (_resized_to_multiples, _normalised),
    "MobileNetV1": _PLAIN,
    "MobileNetV2": _UNPADDED,
    "Pvt": _PLAIN,
    "RTDetr": _DETECTOR,
    "Segformer": (_resized, _normalised),
    "Siglip": _PLAIN,
    "ViT": _PLAIN,
    "Yolos": (_resized_in_sixteens, _normalised, _padded),
}
"""The steps of each processor of transformers, by the name before `ImageProcessor`."""
