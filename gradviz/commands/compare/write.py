"""Writing a comparison: a picture of each difference, and compare.json."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from gradviz.arrays import Array, Mask
from gradviz.commands.compare.comparison import Comparison, Item
from gradviz.errors import UsageError
from gradviz.heatmap.colours import NONFINITE, Palette
from gradviz.runs.names import COMPARED, RUN, is_result_path
from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import CompareDocument, CompareRecord, ImageName


def check_folder(folder: RunWriter, overwrite: bool) -> None:
    """Check early that a folder can be used.

    Args:
        folder: the output folder.
        overwrite: True if a run in it may be replaced.

    Raises:
        UsageError: it cannot be written; or it holds a run, and `overwrite` was not given.
    """
    folder.check(overwrite=overwrite, resume=False)
    if folder.has(RUN) and not overwrite:
        raise UsageError(
            f"{folder.out}: holds a run; give --overwrite to replace it, or another -o"
        )


def write_comparison(
    comparison: Comparison, folder: RunWriter, palette: Palette, command: Sequence[str]
) -> CompareDocument:
    """Draw each pair of arrays that are pictures in shape, and write compare.json last.

    All pictures of a seed's arrays of one name have one scale: the largest |A − B| among them.

    Args:
        comparison: the two runs, compared.
        folder: the output folder.
        palette: the colour maps.
        command: the command line of the program, for the record.

    Returns:
        the content of compare.json: `document` with the `files` and the `scales` of each item.

    Raises:
        UsageError: the folder is one of the two runs', or the disk refuses.
    """
    for run in comparison.runs:
        if folder.path == run.folder.path:
            raise UsageError(f"{folder.out}: is one of the runs to compare; choose another -o")
    document = comparison.document()
    items = comparison.items
    images = sorted({item.image for item in items if item.image})
    record = CompareRecord(
        schema=1,
        kind="compare",
        command=list(command),
        runs=document.runs,
        images=[ImageName(name=name) for name in images],
        writes=sorted({f"{name}.png" for item in items for name in item.paths}),
    )
    folder.begin(record, documents=(COMPARED,))
    scales = _scales(items)
    entries = []
    for item, entry in zip(items, document.items, strict=True):
        files: dict[str, str] = {}
        drawn: dict[str, float] = {}
        for name, paths in item.paths.items():
            a, b = (run.folder.array(p) for run, p in zip(comparison.runs, paths, strict=True))
            if a.ndim not in (2, 3) or not a.size:
                continue
            if not is_result_path(paths[0], item.image):
                raise UsageError(
                    f"{comparison.runs[0].folder.out / paths[0]}: not where gradviz writes an array"
                )
            drawn[name] = scales[item.seed, name]
            picture = difference_picture(a, b, drawn[name], palette)
            files[name] = str(PurePosixPath(paths[0]).with_suffix(".png"))
            folder.save(files[name], partial(picture.save, format="PNG"))
        entries.append(entry.model_copy(update={"files": files, "scales": drawn}))
    document = document.model_copy(update={"items": entries})
    folder.save_document(COMPARED, document)
    return document


def _scales(items: Sequence[Item]) -> dict[tuple[str | None, str], float]:
    largest: defaultdict[tuple[str | None, str], float] = defaultdict(float)
    for item in items:
        for name in item.paths:
            key = item.seed, name
            largest[key] = max(largest[key], item.measured[name]["max"])
    return largest


ONLY_A = (200, 0, 40)


ONLY_B = (0, 80, 200)


BOTH = (150, 150, 150)
"""The colour of pixels in both masks; those in neither are black."""


def difference_picture(a: Array, b: Array, scale: float, palette: Palette) -> Image.Image:
    """Draw A − B in diverging colours, or two masks over each other.

    Of a pixel's channels, the one that differs most is drawn, so that none hides another.

    Args:
        a: [C, h, w] or [h, w], of numbers or truth values.
        b: of the same shape and kind.
        scale: the |difference| that gets the strongest colour; 0 draws an evenly blank picture.
        palette: the colour maps.

    Returns:
        an RGB picture of w×h. Places that are NaN or Inf in either are painted in `NONFINITE`.
    """
    if a.dtype == b.dtype == bool and a.ndim == 2:
        return _masks(a, b)
    planes = [each.astype(np.float64).reshape(-1, *each.shape[-2:]) for each in (a, b)]
    broken = ~(np.isfinite(planes[0]) & np.isfinite(planes[1]))
    x, y = (np.where(broken, 0, each) for each in planes)
    most = np.abs(x - y).argmax(axis=0, keepdims=True)
    difference = np.take_along_axis(x - y, most, axis=0)[0]
    t = np.clip(difference, -scale, scale) / scale if scale > 0 else np.zeros_like(difference)
    pixels = palette.diverging(t)
    pixels[broken.any(axis=0)] = NONFINITE
    return Image.fromarray(pixels)


def _masks(a: Mask, b: Mask) -> Image.Image:
    pixels = np.zeros((*a.shape, 3), np.uint8)
    pixels[a & ~b] = ONLY_A
    pixels[b & ~a] = ONLY_B
    pixels[a & b] = BOTH
    return Image.fromarray(pixels)
