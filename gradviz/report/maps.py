"""The results of saliency runs, and what their maps need in the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradviz.errors import UsageError
from gradviz.heatmap.views import Bytes
from gradviz.image.files import reading
from gradviz.image.preprocess import preprocess_from
from gradviz.report.pack import (
    SIDES,
    Size,
    block_for,
    kept_whole,
    pack,
    packed_picture,
    planes_of,
    scales_of,
)
from gradviz.report.read import Run
from gradviz.run.store import RUN, Line

UNKNOWN = (SIDES[0], SIDES[0])
"""The size that an input is taken to have where a layer's array does not tell it."""


@dataclass
class Page:
    """What a page gathers while it is made."""

    side: int
    """How many cells the longer side of a picture may have."""
    blobs: dict[str, str] = field(default_factory=dict)
    """Long texts by their id, for scripts to decode when they are looked at."""
    notes: list[str] = field(default_factory=list)
    """What could not be shown, and why."""
    palettes: list[str | None] = field(default_factory=lambda: [None])
    """The colour maps that are used, by name; None for the defaults."""
    _pictures: dict[tuple[str, str], tuple[str, tuple[int, int]] | None] = field(
        default_factory=dict
    )

    def keep(self, text: str) -> str:
        """Keep a long text; its id."""
        name = f"blob{len(self.blobs)}"
        self.blobs[name] = text
        return name

    def palette(self, run: Run) -> int:
        """The number of the palette that a run draws with."""
        name = run.record["settings"].get("colormap")
        if name not in self.palettes:
            self.palettes.append(name)
        return self.palettes.index(name)

    def picture(self, run: Run, image: str) -> tuple[str, tuple[int, int]] | None:
        """The id of the picture that entered the model, and its height and width in pixels."""
        key = run.name, image
        if key not in self._pictures:
            shown = self._shown(run, image)
            self._pictures[key] = None if shown is None else self._packed(shown)
        return self._pictures[key]

    def _packed(self, shown: Bytes) -> tuple[str, tuple[int, int]]:
        height, width, _ = shown.shape
        block = block_for((height, width), self.side)
        return self.keep(packed_picture(shown, block)), (height, width)

    def _shown(self, run: Run, image: str) -> Bytes | None:
        try:
            source = run.source(image)
            if source is None:
                return None
            from gradviz.run.images import load  # imports torch, which is slow

            return load(source, preprocess_from(run.record["preprocess"], RUN)).prepared.shown
        except UsageError as error:
            self.notes.append(f"{image}: {error}")
            return None


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


def as_map(array: NDArray[Any]) -> NDArray[Any]:
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
        "more": {name: line[name] for name in ("layer", "gated", "completeness") if name in line},
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
    of_input = "layer" not in line
    if of_input and len(g) == 3 and run.record["preprocess"]["channels"] == "bgr":
        g = g[::-1]
    return {**array_map(page, g, picture, run.record["settings"]["clip"]), "name": file_stem(file)}


def file_stem(file: str) -> str:
    """`gradient` of `room.png/ones/gradient.npy`."""
    return file.rpartition("/")[2].removesuffix(".npy")


def array_map(
    page: Page,
    g: NDArray[np.float32],
    picture: tuple[str, tuple[int, int]] | None,
    clip: float,
) -> dict[str, Any]:
    """An array [C, h, w], channels in the picture's order, ready for the page.

    Args:
        picture: the id, height and width of the input; None where it is not known.
        clip: the percentile that gets the strongest colour.
    """
    height, width = g.shape[1:] if picture is None else picture[1]
    # Cells are those of the input; the smaller array of a layer is kept whole.
    block = block_for((height, width), page.side) if g.shape[1:] == (height, width) else 1
    block = max(block, block_for(g.shape[1:], page.side))
    packed = pack(planes_of(g, block))
    whole = kept_whole(len(g), block)
    return {
        "size": [width, height],
        "grain": block_for((height, width), page.side),
        "picture": None if picture is None else picture[0],
        "channels": len(g),
        "whole": whole,
        "cells": packed.shape,
        "step": packed.step,
        "error": packed.error * (len(g) if whole else 1),
        "data": page.keep(packed.data),
        "scales": scales_of(g, block, clip),
    }


def _as_written(page: Page, run: Run, line: Line) -> dict[str, Any]:
    """A result whose array was not kept: its pictures, as the run wrote them."""
    drawn, size = {}, (1, 1)
    for view, file in line["files"].items():
        path = run.store.out / file
        with reading(path), Image.open(path) as picture:
            shown = np.asarray(picture.convert("RGB"))
        size = shown.shape[:2]
        drawn[view] = page.keep(packed_picture(shown, block_for(size, page.side)))
    return {"size": size[::-1], "grain": block_for(size, page.side), "drawn": drawn}
