"""The sizes that an image takes on from step to step of a recipe, and the places of its pixels.

Libraries round differently, and a side that is one pixel off moves every pixel. So each rule
computes in the order of its source, in the same floats:

- a shorter side: torchvision.transforms.Resize; the same in timm and transformers
- `longest`: transformers, `shortest_edge` with `longest_edge`
- `keep_aspect: least`, `round: even`: transformers, DPTImageProcessor
- `keep_aspect: inside`, `round: floor`: transformers, `max_height` with `max_width`
- `keep_aspect: inside` and `cover` otherwise: timm.data.transforms.ResizeKeepRatio
- `fit:N`: the letterbox of Ultralytics YOLO
"""

from __future__ import annotations

from math import floor

from gradviz.arrays import Size
from gradviz.image.preprocess import Preprocess


def resized_size(image: Size, preprocess: Preprocess) -> Size:
    """Compute the width and height after the resize.

    Args:
        image: width and height before it.
        preprocess: the recipe.
    """
    step = preprocess.multiple or 1
    width, height = (
        max(1, _steps(side, step, preprocess.round)) * step for side in _scaled(image, preprocess)
    )
    return width, height


def _steps(side: float, step: int, rule: str | None) -> int:
    """Round a side to a number of steps."""
    match rule:
        case "floor":
            return floor(side / step)
        case "even":
            return round(side / step)
    # In integers: exact for any size. Halves go up.
    return (2 * round(side) + step) // (2 * step)


def _scaled(image: Size, preprocess: Preprocess) -> tuple[float, float]:
    """Compute the width and height after the resize, before they are rounded."""
    width, height = image
    share = preprocess.crop_pct or 1
    match preprocess.resize:
        case int(shorter):
            return _by_shorter(image, floor(shorter / share), preprocess.longest)
        case str(fit):
            scale = floor(fit_side(fit) / share) / max(image)
            return width * scale, height * scale
        case (columns, rows):
            box = floor(columns / share), floor(rows / share)
            return _in_box(image, box, preprocess)
    return image


def fit_side(text: str) -> int:
    """Return the longer side N of `fit:N`."""
    return int(text.removeprefix("fit:"))


def _by_shorter(image: Size, shorter: int, longest: int | None) -> tuple[float, float]:
    width, height = image
    least, most = min(image), max(image)
    if longest is not None and most / least * shorter > longest:
        raw = longest * float(least) / most
        shorter = round(raw)
        if shorter == least:
            return image
        longer = int(raw * most / least)
        return (shorter, longer) if width < height else (longer, shorter)
    # Rounded down as in torchvision, so that its models get the sizes of their training.
    return width * shorter // least, height * shorter // least


def _in_box(image: Size, box: Size, preprocess: Preprocess) -> tuple[float, float]:
    (width, height), (columns, rows) = image, box
    across, down = columns / width, rows / height
    match preprocess.keep_aspect:
        case "least":
            across = down = across if abs(1 - across) < abs(1 - down) else down
        case "inside" if preprocess.round == "floor":
            across = down = min(across, down)
        case "inside":
            ratio = max(width / columns, height / rows)
            return width / ratio, height / ratio
        case "cover":
            ratio = min(width / columns, height / rows)
            return width / ratio, height / ratio
        case _ if preprocess.round is None:
            return box
    return across * width, down * height


def crop_axis(side: int, kept: int, rule: str | None) -> tuple[int, int]:
    """Compute the place of a centred crop along an axis.

    Args:
        side: the length before the crop.
        kept: the length after it.
        rule: the recipe's `crop_rule`.

    Returns:
        the first pixel that is kept, and the pixels of padding before it if `side` is less than
        `kept`.
    """
    missing = max(0, kept - side)
    spare = max(0, side - kept)
    if rule == "transformers":
        return spare // 2, (missing + 1) // 2
    return round(spare / 2), missing // 2


def padded_size(size: Size, preprocess: Preprocess) -> Size:
    """Compute the width and height after the padding.

    Args:
        size: width and height before it.
        preprocess: the recipe.
    """
    match preprocess.pad:
        case None:
            return size
        case str(text):
            step = int(text.removeprefix("multiple:"))
            return -(-size[0] // step) * step, -(-size[1] // step) * step
        case pad:
            return both(pad)


def both(size: int | Size) -> Size:
    """Return a side as the width and height of a square; a width and height unchanged."""
    return (size, size) if isinstance(size, int) else size
