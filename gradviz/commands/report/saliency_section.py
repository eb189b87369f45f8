"""The section of saliency runs: their results and maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from gradviz.arrays import Array, Floats, Size
from gradviz.commands.report import page_data
from gradviz.commands.report.inputs import array_in, pixels_in
from gradviz.errors import UsageError
from gradviz.heatmap.clip import Clip, recorded_clip
from gradviz.heatmap.marks import strokes
from gradviz.heatmap.views import OUTPUT, VIEWS
from gradviz.marks import Mark, around
from gradviz.runs.reader import FinishedRun, SaliencyResults
from gradviz.runs.schema import AnswerEntry, DetectionEntry, Done

MORE = ("loss", "layer", "gated", "samples", "completeness", "conservation", "tiles", "parts")
"""The keys of results.jsonl that only some results have."""

UNKNOWN = (page_data.SIDES[0], page_data.SIDES[0])
"""The assumed size of an input if a layer's array does not determine it."""


def array_of(line: Done) -> str | None:
    """Return the file of the array that the pictures of a result show; None if it was not kept."""
    return line.files.get("attribution", line.files.get("gradient"))


def sizes_of(run: SaliencyResults) -> Iterator[page_data.MapSize]:
    """Yield the shapes of a run's arrays [C, h, w], and the height and width of their inputs."""
    for line in run.done:
        file = array_of(line)
        with suppress(UsageError):  # a note is made when the array is drawn
            shape = (1, *UNKNOWN) if file is None else as_map(array_in(run, file)).shape
            channels, height, width = shape
            yield (channels, height, width), UNKNOWN if line.layer is not None else (height, width)
            if line.output is not None and line.output.size is not None:
                width, height = line.output.size
                yield (1, 1, 1), (height, width)  # a picture without a map


def as_map(array: Array) -> Array:
    """Reshape an array to [C, h, w]; one without spatial extent becomes [C, 1, 1]."""
    return array if array.ndim == 3 else array.reshape(-1, 1, 1)


def map_of(page: page_data.Page, run: FinishedRun, line: Done) -> dict[str, Any] | None:
    """Convert a result for the page; return None if its array cannot be read."""
    drawn = _drawn(page, run, line)
    if drawn is None:
        return None
    # A layer's map alone does not say how large the input is.
    placed = line.layer is None or drawn.get("picture") is not None
    return {
        "run": run.name,
        "palette": page.palette(run),
        "image": line.image,
        "seed": line.seed,
        "score": line.score,
        "answer": None if line.answer is None else _answer(line.answer),
        "detection": None if line.detection is None else _detection(line.detection),
        "stats": line.stats.content(),
        "warnings": line.warnings,
        "output": line.output_shape,
        "more": line.model_dump(include=set(MORE), exclude_unset=True) | _absorbed(line),
        "answered": _answered(page, run, line),
        "marks": [*_marks(line, run, drawn["size"])] if placed else [],
        **drawn,
    }


def _absorbed(line: Done) -> dict[str, float]:
    """Name what absorbed relevance, with the amounts that are not 0."""
    found = {} if line.absorbed is None else line.absorbed.content()
    return {f"absorbed by {cause}": amount for cause, amount in found.items() if amount}


def _answer(answer: AnswerEntry) -> dict[str, str | None]:
    """Write a class in short for a card, and in full."""
    whole = str(answer.index) if answer.label is None else f"{answer.index} ({answer.label})"
    return {"short": str(answer), "whole": whole, "share": answer.percent}


def _detection(found: DetectionEntry) -> dict[str, Any]:
    """Write a detection in short for a card, and in full."""
    whole = str(found.index) if found.label is None else f"{found.index} ({found.label})"
    return {"short": str(found), "whole": whole, "score": found.score, "place": found.place}


def _answered(page: page_data.Page, run: FinishedRun, line: Done) -> dict[str, Any] | None:
    """Store the picture of the output with its legend, if there is one."""
    if line.output is None:
        return None
    found: dict[str, Any] = {"caption": line.output.caption, "picture": None}
    if OUTPUT in line.files:
        try:
            found["picture"] = page.keep_picture(pixels_in(run, line.files[OUTPUT])).blob
        except UsageError as error:
            page.notes.append(f"{line.image}, {line.seed}: {error}")
    return found


def _marks(line: Done, run: FinishedRun, size: Size) -> Iterator[dict[str, Any]]:
    """Yield the marks of a result as paths over its map of this width and height."""
    in_image = array_of(line) is None and run.record.settings.get("frame") == "image"
    marks = [entry.mark for entry in line.marks]
    if (found := line.detection) is not None and (in_image or not marks):
        # Runs of earlier versions have the detection alone.
        box = found.box if in_image else found.box_in_input
        known = [side for side in box or () if side is not None]
        marks = [Mark(line.seed, 1.0, around(*known))] if len(known) == 4 else []
    elif in_image:  # only the model's own pixels are recorded
        marks = []
    for mark in marks:
        lines = (" ".join(f"{x:g},{y:g}" for x, y in each) for each in strokes(mark, size))
        path = "".join(f"M{each}" for each in lines)
        yield {"path": path, "subtracted": mark.factor < 0}


def _drawn(page: page_data.Page, run: FinishedRun, line: Done) -> dict[str, Any] | None:
    file = array_of(line)
    try:
        if file is None:
            return _as_written(page, run, line)
        g = as_map(array_in(run, file))
    except UsageError as error:
        page.notes.append(f"{line.image}, {line.seed}: {error}")
        return None
    picture = page.picture(run, line.image)
    of_input = line.layer is None if picture is None else g.shape[1:] == picture.size
    if of_input and len(g) == 3 and run.record.preprocess.get("channels") == "bgr":
        g = g[::-1]
    clip = recorded_clip(run.record.settings.get("clip"))
    return {"array": file_name(file), **array_map(page, g, picture, clip)}


def file_name(file: str) -> str:
    """Return the stem of a file name: `gradient` for `room.png/ones/gradient.npy`."""
    return PurePosixPath(file).stem


def array_map(
    page: page_data.Page, g: Floats, picture: page_data.Shown | None, clip: Clip
) -> dict[str, Any]:
    """Convert an array for the page.

    Args:
        page: the page that stores the data.
        g: [C, h, w], channels in the picture's order.
        picture: the input; None if it is not known.
        clip: what gets the strongest colour.
    """
    size = (g.shape[1], g.shape[2]) if picture is None else picture.size
    # The array of a layer is smaller than the input, and has cells of its own.
    block = page_data.block_for(g.shape[1:], page.side)
    packed = page_data.pack(page_data.kept_planes(g, block))
    whole = page_data.kept_whole(len(g), block)
    return {
        "size": size[::-1],
        "grain": page_data.block_for(size, page.side),
        "picture": picture and picture.blob,
        "whole": whole,
        "cells": packed.shape,
        "step": packed.step,
        "error": packed.error * (len(g) if whole else 1),
        "data": page.keep(packed.data),
        "scales": page_data.scales_of(g, block, clip),
    }


def _as_written(page: page_data.Page, run: FinishedRun, line: Done) -> dict[str, Any]:
    """Convert a result whose array was not kept: its pictures, as the run wrote them."""
    files = {view: file for view, file in line.files.items() if view in VIEWS} or line.files
    drawn = {view: page.keep_picture(pixels_in(run, file)) for view, file in files.items()}
    size = next(shown.size for shown in drawn.values())
    return {
        "size": size[::-1],
        "grain": page_data.block_for(size, page.side),
        "drawn": {view: shown.blob for view, shown in drawn.items()},
    }
