"""Two runs beside each other, and what their difference maps need in the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from gradviz.arrays import Array
from gradviz.commands.report.inputs import Comparison, Run
from gradviz.commands.report.page_data import Page, Size
from gradviz.commands.report.saliency_section import UNKNOWN, array_map, array_of, as_map, file_name
from gradviz.errors import UsageError
from gradviz.heatmap.views import CLIP
from gradviz.runs.results import Line

FIELDS = ("effective", "structural")
"""The arrays of a receptive field that are drawn side by side."""


Lines = Mapping[tuple[str, str], Line]
"""The results of a run by image and seed."""


def pairs_of(page: Page, comparison: Comparison) -> dict[str, Any]:
    """The items of a comparison in their order, ready for the page."""
    lines = _lines(comparison)
    rows = [
        row
        for item in comparison.document["items"]
        for row in _rows(page, comparison, item, _files(comparison, lines, item))
    ]
    return {"rows": rows}


def pair_sizes(comparison: Comparison) -> Iterator[Size]:
    """The shapes of the arrays that are drawn, and the heights and widths of the inputs."""
    lines = _lines(comparison)
    for item in comparison.document["items"]:
        files = _files(comparison, lines, item)
        for run, names in zip(comparison.runs, files, strict=True):
            for name in names:
                with suppress(UsageError):  # it is told when the array is drawn
                    channels, height, width = _map(run.array(name)).shape
                    yield (channels, height, width), UNKNOWN
                    yield (channels, height, width), (0, 0)  # half of their difference


def _rows(
    page: Page, comparison: Comparison, item: dict[str, Any], files: Sequence[Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """A row for each array of an item; one without pictures where a run has none."""
    told = {
        "image": item["image"] or "the network",
        "seed": item["seed"] or "",
        "ok": item["ok"],
        "problems": item["problems"],
    }
    if not all(files):
        yield {**told, "value": item["value"], "maps": []}
    for pair in zip(*files, strict=False):
        name = file_name(pair[0])
        measured = item["measured"].get(name, {})
        yield {
            **told,
            "array": name,
            "value": measured.get(comparison.document["metric"]),
            "maps": _three(page, comparison.runs, pair, item["image"]),
        }


def _three(
    page: Page, runs: tuple[Run, Run], files: tuple[str, ...], image: str
) -> list[dict[str, Any]]:
    """A, B, and A − B where they have one shape."""
    try:
        arrays = [
            _map(run.array(file)).astype(np.float32) for run, file in zip(runs, files, strict=True)
        ]
    except UsageError as error:
        page.notes.append(str(error))
        return []
    a, b = arrays
    if a.shape == b.shape:
        with np.errstate(invalid="ignore", over="ignore"):  # shown as what it is: not finite
            arrays.append(a - b)
    picture = page.picture(runs[0], image)
    clip = runs[0].record["settings"].get("clip", CLIP)
    palette = page.palette(runs[0])
    return [{"palette": palette, **array_map(page, each, picture, clip)} for each in arrays]


def _map(array: Array) -> Array:
    """An array of a field [h, w] or of a gradient as [C, h, w]."""
    return array[None] if array.ndim == 2 else as_map(array)


def _lines(comparison: Comparison) -> list[Lines]:
    return [{(line["image"], line["seed"]): line for line in run.lines} for run in comparison.runs]


def _files(comparison: Comparison, lines: Sequence[Lines], item: dict[str, Any]) -> list[list[str]]:
    """Of either run, the files of an item's arrays that are drawn."""
    found = (of_run.get((item["image"], item["seed"])) for of_run in lines)
    return [
        [] if line is None else _drawn(run, line)
        for run, line in zip(comparison.runs, found, strict=True)
    ]


def _drawn(run: Run, line: Line) -> list[str]:
    if run.record["kind"] == "receptive-field":
        return [line["files"][f"{name}.npy"] for name in FIELDS]
    file = array_of(line)
    return [] if file is None else [file]
