"""The section of a comparison: runs beside the first one, and their difference maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from gradviz.arrays import Array
from gradviz.commands.report.inputs import ComparedRuns, array_in
from gradviz.commands.report.page_data import MapSize, Page
from gradviz.commands.report.saliency_section import UNKNOWN, array_map, array_of, as_map, file_name
from gradviz.errors import UsageError
from gradviz.heatmap.clip import recorded_clip
from gradviz.runs.reader import FinishedRun
from gradviz.runs.schema import Done, Failed, FieldDone, ItemEntry

SIDE_BY_SIDE = ("effective.npy", "structural.npy")
"""The arrays of a receptive field that are drawn side by side."""


def pairs_of(page: Page, comparison: ComparedRuns) -> dict[str, Any]:
    """Convert the items of a comparison for the page, in their order."""
    rows = [
        row
        for item in comparison.document.items
        for row in _rows(page, comparison, item, _files(comparison, item))
    ]
    return {"rows": rows}


def pair_sizes(comparison: ComparedRuns) -> Iterator[MapSize]:
    """Yield the shapes of the arrays that are drawn, and the heights and widths of the inputs."""
    for item in comparison.document.items:
        files = _files(comparison, item)
        for run, names in zip(_pair(comparison, item), files, strict=True):
            for name in names:
                with suppress(UsageError):  # a note is made when the array is drawn
                    channels, height, width = _map(array_in(run, name)).shape
                    yield (channels, height, width), UNKNOWN
                    yield (channels, height, width), (0, 0)  # half of their difference


def _rows(
    page: Page, comparison: ComparedRuns, item: ItemEntry, files: Sequence[Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """Yield a row for each array of an item; a row has no pictures if a run lacks the array."""
    pair = _pair(comparison, item)
    told = {
        "run": pair[1].name if len(comparison.runs) > 2 else "",
        "image": item.image or "the network",
        "seed": item.seed or "",
        "ok": item.ok,
        "problems": item.problems,
    }
    if not all(files):
        yield {**told, "value": item.value, "maps": []}
    for both in zip(*files, strict=False):
        name = file_name(both[0])
        measured = item.measured.get(name, {})
        yield {
            **told,
            "array": name,
            "value": measured.get(comparison.document.metric),
            "maps": _three(page, pair, both, item.image or ""),
        }


def _three(
    page: Page, runs: tuple[FinishedRun, FinishedRun], files: tuple[str, ...], image: str
) -> list[dict[str, Any]]:
    """Draw A, B, and, if their shapes agree, A − B."""
    try:
        arrays = [
            _map(array_in(run, file)).astype(np.float32)
            for run, file in zip(runs, files, strict=True)
        ]
    except UsageError as error:
        page.notes.append(str(error))
        return []
    a, b = arrays
    if a.shape == b.shape:
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and Inf are shown as such
            arrays.append(a - b)
    picture = page.picture(runs[0], image)
    clip = recorded_clip(runs[0].record.settings.get("clip"))
    palette = page.palette(runs[0])
    return [{"palette": palette, **array_map(page, each, picture, clip)} for each in arrays]


def _map(array: Array) -> Array:
    """Reshape an array of a field [h, w] or of a gradient to [C, h, w]."""
    return array[None] if array.ndim == 2 else as_map(array)


def _pair(comparison: ComparedRuns, item: ItemEntry) -> tuple[FinishedRun, FinishedRun]:
    """Return the first run, and the later one that an item is about."""
    return comparison.runs[0], comparison.runs[item.run]


def _files(comparison: ComparedRuns, item: ItemEntry) -> list[list[str]]:
    """List the files of an item's arrays that are drawn, for each of its two runs."""
    lines = [run.by_key.get((item.image or "", item.seed)) for run in _pair(comparison, item)]
    return [[] if line is None or isinstance(line, Failed) else _drawn(line) for line in lines]


def _drawn(line: FieldDone) -> list[str]:
    if not isinstance(line, Done):
        return [line.files[name] for name in SIDE_BY_SIDE if name in line.files]
    file = array_of(line)
    return [] if file is None else [file]
