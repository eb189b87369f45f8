"""The results of saliency runs, and what their maps need in the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from gradviz.arrays import Array, Floats
from gradviz.commands.report.inputs import Run
from gradviz.commands.report.page_data import (
    SIDES,
    Page,
    Shown,
    Size,
    block_for,
    kept_whole,
    pack,
    planes_of,
    scales_of,
)
from gradviz.errors import UsageError
from gradviz.runs.results import Line

MORE = ("layer", "gated", "samples", "completeness", "tiles", "parts")
"""What only some results have, as results.jsonl names it."""

UNKNOWN = (SIDES[0], SIDES[0])
"""The size that an input is taken to have where a layer's array does not tell it."""


def array_of(line: Line) -> str | None:
    """The file of the array that the pictures of a result show, if it was kept."""
    files = line["files"]
    file: str | None = files.get("attribution", files.get("gradient"))
    return file


def sizes_of(run: Run) -> Iterator[Size]:
    """The shapes of a run's arrays [C, h, w], and the height and width of what entered."""
    for line in run.lines:
        file = array_of(line)
        with suppress(UsageError):  # it is told when the array is drawn
            shape = (1, *UNKNOWN) if file is None else as_map(run.array(file)).shape
            channels, height, width = shape
            yield (channels, height, width), UNKNOWN if "layer" in line else (height, width)


def as_map(array: Array) -> Array:
    """An array [C, h, w]; what has no spatial extent has one place."""
    return array if array.ndim == 3 else array.reshape(-1, 1, 1)


def map_of(page: Page, run: Run, line: Line) -> dict[str, Any] | None:
    """A result, ready for the page; None where its array cannot be read."""
    drawn = _drawn(page, run, line)
    if drawn is None:
        return None
    return {
        "run": run.name,
        "palette": page.palette(run),
        "image": line["image"],
        "seed": line["seed"],
        "score": line["score"],
        "stats": line["stats"],
        "warnings": line["warnings"],
        "output": line["output_shape"],
        "more": {name: line[name] for name in MORE if name in line},
        **drawn,
    }


def _drawn(page: Page, run: Run, line: Line) -> dict[str, Any] | None:
    file = array_of(line)
    try:
        if file is None:
            return _as_written(page, run, line)
        g = as_map(run.array(file))
    except UsageError as error:
        page.notes.append(f"{line['image']}, {line['seed']}: {error}")
        return None
    picture = page.picture(run, line["image"])
    of_input = "layer" not in line if picture is None else g.shape[1:] == picture.size
    if of_input and len(g) == 3 and run.record["preprocess"]["channels"] == "bgr":
        g = g[::-1]
    clip = run.record["settings"]["clip"]
    return {"array": file_name(file), **array_map(page, g, picture, clip)}


def file_name(file: str) -> str:
    """`gradient` of `room.png/ones/gradient.npy`."""
    return PurePosixPath(file).stem


def array_map(page: Page, g: Floats, picture: Shown | None, clip: float) -> dict[str, Any]:
    """An array [C, h, w], channels in the picture's order, ready for the page.

    Args:
        picture: the input; None where it is not known.
        clip: the percentile that gets the strongest colour.
    """
    size = (g.shape[1], g.shape[2]) if picture is None else picture.size
    # The array of a layer is smaller than the input, and has cells of its own.
    block = block_for(g.shape[1:], page.side)
    packed = pack(planes_of(g, block))
    whole = kept_whole(len(g), block)
    return {
        "size": size[::-1],
        "grain": block_for(size, page.side),
        "picture": picture and picture.blob,
        "whole": whole,
        "cells": packed.shape,
        "step": packed.step,
        "error": packed.error * (len(g) if whole else 1),
        "data": page.keep(packed.data),
        "scales": scales_of(g, block, clip),
    }


def _as_written(page: Page, run: Run, line: Line) -> dict[str, Any]:
    """A result whose array was not kept: its pictures, as the run wrote them."""
    drawn = {view: page.keep_picture(run.pixels(file)) for view, file in line["files"].items()}
    size = next(shown.size for shown in drawn.values())
    return {
        "size": size[::-1],
        "grain": block_for(size, page.side),
        "drawn": {view: shown.blob for view, shown in drawn.items()},
    }
