"""The section of a receptive-field run: the data of its explorer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from gradviz.arrays import Array, Numbers
from gradviz.commands.report import page_data
from gradviz.commands.report.inputs import array_in
from gradviz.errors import UsageError
from gradviz.heatmap.clip import CLIP
from gradviz.heatmap.draw import scale_of
from gradviz.runs.names import BOXES
from gradviz.runs.reader import FieldResults
from gradviz.runs.schema import FieldEntry

SHARES = (20, 50, 99)
"""The percentages of the energy around which contours are drawn."""

FIELD_SIDE = 512
"""The most cells along the longer side of a field: contours are drawn edge by edge."""

MOST_BOXES = 2**22
"""The most output pixels whose boxes are kept."""


def field_sizes(run: FieldResults) -> Iterator[page_data.MapSize]:
    """Yield the shapes of the arrays of a run, and the heights and widths of their pictures."""
    for field in run.document.fields:
        with suppress(UsageError):  # a note is made when the field is drawn
            height, width = _array(run, field, "effective").shape
            yield (1, height, width), (height, width)


def explorer_of(page: page_data.Page, run: FieldResults) -> dict[str, Any]:
    """Convert the fields of a run for the page."""
    found = (_field(page, run, field) for field in run.document.fields)
    fields = [field for field in found if field is not None]
    return {
        "run": run.name,
        "palette": page.palette(run),
        "geometry": run.document.geometry.content(),
        "fields": fields,
        # The boxes were measured on an input of the first field's size.
        "boxes": _boxes(page, run, fields[0]["extent"]) if run.has_boxes and fields else None,
    }


def _field(page: page_data.Page, run: FieldResults, field: FieldEntry) -> dict[str, Any] | None:
    try:
        structural, local, energy = (
            _array(run, field, name) for name in ("structural", "local", "effective")
        )
    except UsageError as error:
        page.notes.append(f"{field.image}, pixel {field.pixel}: {error}")
        return None
    picture = page.picture(run, field.image)
    height, width = energy.shape
    block = page_data.block_for((height, width), min(page.side, FIELD_SIDE))
    cells = page_data.in_cells(energy, block)
    packed = page_data.pack(cells[None])
    return {
        **{key: value for key, value in field.content().items() if key not in ("files", "local")},
        "local_area": field.local.area,
        "extent": [width, height],
        "grain": block,
        "picture": picture and picture.blob,
        "structural": page.keep(page_data.packed_mask(structural, block)),
        "local": page.keep(page_data.packed_mask(local, block)),
        "cells": packed.shape,
        "step": packed.step,
        "error": packed.error,
        "data": page.keep(packed.data),
        "scale": scale_of(cells, CLIP),
        "contours": contours_of(cells),
    }


def _array(run: FieldResults, field: FieldEntry, name: str) -> Array:
    """Read one of a field's arrays [h, w]."""
    if f"{name}.npy" not in field.files:
        raise UsageError(f"{run.name}: has no {name} field; run it again")
    array = array_in(run, field.files[f"{name}.npy"])
    if array.ndim != 2:
        raise UsageError(f"{run.name}: the {name} field is no map; run it again")
    return array


def contours_of(energy: Numbers) -> dict[str, float]:
    """Compute for each of `SHARES` the energy above which pixels hold at least that much of it all.

    Args:
        energy: [h, w].

    Returns:
        the thresholds by percentage; empty if there is no energy.
    """
    falling = np.sort(energy[np.isfinite(energy)])[::-1]
    held = np.cumsum(falling)
    if not held.size or held[-1] <= 0:
        return {}
    return {
        str(share): float(falling[np.searchsorted(100 * held, share * held[-1])])
        for share in SHARES
    }


def _boxes(page: page_data.Page, run: FieldResults, extent: list[int]) -> dict[str, Any] | None:
    try:
        boxes = array_in(run, BOXES)
    except UsageError as error:
        page.notes.append(str(error))
        return None
    height, width, _ = boxes.shape
    if height * width > MOST_BOXES:
        page.notes.append(
            f"{run.name}/{BOXES}: the boxes of {width}x{height} output pixels are too many for a "
            "page; those of the geometry are shown"
        )
        return None
    planes = np.ascontiguousarray(np.moveaxis(boxes, -1, 0), "<i4")
    return {
        "size": [width, height],
        "extent": extent,
        "data": page.keep(page_data.compressed(planes)),
    }
