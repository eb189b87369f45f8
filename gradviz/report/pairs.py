"""Two runs beside each other, and what their difference maps need in the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradviz.errors import UsageError
from gradviz.heatmap.views import CLIP
from gradviz.report.maps import UNKNOWN, Page, array_map, array_of, as_map, file_stem
from gradviz.report.pack import Size
from gradviz.report.read import Comparison, Run
from gradviz.run.store import Line

FIELDS = ("effective", "structural")
"""The arrays of a receptive field that are drawn side by side."""


def pairs_of(page: Page, comparison: Comparison) -> dict[str, Any]:
    """The items of a comparison in their order, ready for the page."""
    return {
        "runs": [run.name for run in comparison.runs],
        "rows": [
            row for item in comparison.document["items"] for row in _rows(page, comparison, item)
        ],
    }


def pair_sizes(comparison: Comparison) -> Iterator[Size]:
    """The shapes of the arrays that are drawn, and the heights and widths of the inputs."""
    for item in comparison.document["items"]:
        for run in comparison.runs:
            line = _line(run, item)
            for name in _names(run, line):
                try:
                    shape = as_map(run.array(name)).shape
                except UsageError:  # it is told when the array is drawn
                    continue
                yield (shape[0], shape[1], shape[2]), UNKNOWN
                yield (shape[0], shape[1], shape[2]), (0, 0)  # half of their difference


def _rows(page: Page, comparison: Comparison, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    first, second = comparison.runs
    lines = [_line(run, item) for run in comparison.runs]
    files = [_names(run, line) for run, line in zip(comparison.runs, lines, strict=True)]
    told = {
        "image": item["image"] or "the network",
        "seed": item["seed"] or "",
        "ok": item["ok"],
        "value": item["value"],
        "problems": item["problems"],
    }
    if not all(files):
        yield {**told, "maps": []}
    for one, other in zip(*files, strict=False):
        yield {
            **told,
            "array": file_stem(one),
            "maps": _three(page, (first, second), (one, other), item),
        }


def _three(
    page: Page, runs: tuple[Run, Run], files: tuple[str, str], item: dict[str, Any]
) -> list[Any]:
    """A, B, and A − B where they have one shape."""
    try:
        a, b = (_floats(run.array(file)) for run, file in zip(runs, files, strict=True))
    except UsageError as error:
        page.notes.append(str(error))
        return []
    picture = page.picture(runs[0], item["image"])
    arrays = [a, b]
    if a.shape == b.shape:
        with np.errstate(invalid="ignore", over="ignore"):  # shown as what it is: not finite
            arrays.append(a - b)
    clip = runs[0].record["settings"].get("clip", CLIP)
    palette = page.palette(runs[0])
    return [{"palette": palette, **array_map(page, each, picture, clip)} for each in arrays]


def _floats(array: NDArray[Any]) -> NDArray[np.float32]:
    return (array[None] if array.ndim == 2 else as_map(array)).astype(np.float32)


def _line(run: Run, item: dict[str, Any]) -> Line | None:
    key = item["image"], item["seed"]
    return next((line for line in run.lines if (line["image"], line["seed"]) == key), None)


def _names(run: Run, line: Line | None) -> list[str]:
    """The files of the arrays of a result that are drawn."""
    if line is None:
        return []
    if run.record["kind"] == "receptive-field":
        return [line["files"][f"{name}.npy"] for name in FIELDS]
    file = array_of(line)
    return [] if file is None else [file]
