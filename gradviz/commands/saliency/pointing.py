"""The energy-based pointing game: the share of a map's energy inside a mask of the object.

Source:
    Wang et al. 2020, Score-CAM, arXiv:1910.01279
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from gradviz.arrays import Doubles, Floats, Mask, Size
from gradviz.errors import ImageError, UsageError
from gradviz.image.beside import ByStem, file_of, files_by_stem
from gradviz.image.find import Source
from gradviz.image.frame import Frame
from gradviz.image.mask import read_mask
from gradviz.seeds.boxes import Edges

OWN_BOX = "box"
"""The word of `--inside` for the box of the detection that a seed asks about."""


def find_masks(path: Path, sources: Iterable[Source]) -> dict[str, Path]:
    """Find the mask of each image.

    Args:
        path: one file for all images; or a folder, in which a mask has the path and stem of its
            image's name and the suffix of any picture: `deep/a.png` for `deep/a.jpg`.
        sources: the images.

    Returns:
        the masks by the names of the images.

    Raises:
        UsageError: an image has no mask or more than one, or it cannot be read.
    """
    if path.is_dir():
        found = files_by_stem(path, Image.registered_extensions())
        masks = {source.name: _mask_of(path, source, found) for source in sources}
    else:
        masks = dict.fromkeys((source.name for source in sources), path)
    for mask in set(masks.values()):
        if not os.access(mask, os.R_OK):
            raise UsageError(f"--inside {mask}: no such file or folder, or not readable")
    return masks


def _mask_of(folder: Path, source: Source, found: ByStem) -> Path:
    try:
        return file_of(source.name, found, "mask", "the suffix of a picture, such as .png")
    except UsageError as error:
        raise UsageError(f"--inside {folder}: {error}") from None


def energy_inside(array: Floats, frame: Frame, path: Path) -> float:
    """Compute Σ m² inside the mask / Σ m², where m = Σ_c |g_c|.

    NaN and Inf are left out. A pixel is inside if its centre lies on a pixel of the mask that is
    not black, or not 0 in an array. Padding is outside.

    Args:
        array: g [C, h, w], of the input's size or of a layer's.
        frame: the map between the pixels of the input and those of the file.
        path: the mask, of the image file's size [H, W], upright.

    Returns:
        the share in [0, 1]; NaN for a map that is zero.

    Raises:
        ImageError: the mask cannot be read, or has another size.
        UsageError: the array has no places.
    """
    energy = _energy(array)
    return _share(energy, _sampled(frame.in_input(_read(path, frame), False), energy.shape))


def energy_in_box(array: Floats, size: Size, box: Edges) -> float:
    """Compute Σ m² inside a box / Σ m², where m = Σ_c |g_c|.

    NaN and Inf are left out. A pixel is inside if its centre is.

    Args:
        array: g [C, h, w], of the input's size or of a layer's.
        size: the width and height of the input.
        box: x0, y0, x1, y1 in pixels of the input.

    Returns:
        the share in [0, 1]; NaN for a map that is zero.

    Raises:
        UsageError: the array has no places.
    """
    energy = _energy(array)
    columns, rows = (
        (low <= places) & (places < high)
        for places, low, high in (
            ((np.arange(count) + 0.5) * side / count, box[axis], box[axis + 2])
            for axis, (count, side) in enumerate(zip(reversed(energy.shape), size, strict=True))
        )
    )
    return _share(energy, rows[:, None] & columns)


def _energy(array: Floats) -> Doubles:
    """Compute m² at each place [h, w]."""
    if array.ndim != 3:
        raise UsageError(
            f"--inside: a map of shape {list(array.shape)} has no places; name another --layer"
        )
    finite = np.where(np.isfinite(array), array, 0).astype(np.float64)
    energy: Doubles = np.abs(finite).sum(axis=0) ** 2
    return energy


def _share(energy: Doubles, inside: Mask) -> float:
    total = float(energy.sum())
    return float(energy[inside].sum()) / total if total else float("nan")


def _read(path: Path, frame: Frame) -> Mask:
    try:
        weights = read_mask(path)
    except UsageError as error:
        raise ImageError(str(error)) from error
    if weights.shape[::-1] != frame.image:
        width, height = frame.image
        raise ImageError(
            f"{path}: a mask of {weights.shape[1]}x{weights.shape[0]} pixels, expected {width}x"
            f"{height} as in the image; resize it to the image's size"
        )
    return np.asarray(weights != 0)


def _sampled(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """Sample the mask [h, w] at the centres of a grid of this shape that covers it."""
    rows, columns = (
        (2 * np.arange(count) + 1) * size // (2 * count)
        for count, size in zip(shape, mask.shape, strict=True)
    )
    return np.asarray(mask[rows[:, None], columns])
