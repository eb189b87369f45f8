"""Receptive fields become files and field.json."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from gradviz.field.geometry import Geometry
from gradviz.field.pictures import effective_picture, mask_picture, overlay_picture
from gradviz.heatmap.colours import Palette
from gradviz.run.field import Field, as_dict
from gradviz.run.npy import write_npy
from gradviz.run.store import FIELDS, Store
from gradviz.text import strict_json

WRITES = (
    "structural.npy",
    "structural.png",
    "local.npy",
    "local.png",
    "effective.npy",
    "effective.png",
    "overlay.png",
)
"""The files of each field."""


def record(
    store: Store, field: Field, geometry: Geometry, palette: Palette, log: bool
) -> dict[str, Any]:
    """Write one field's arrays and pictures; its object of field.json."""
    x, y = field.pixel
    folder = f"{field.image}/pixel-{x}-{y}"
    arrays = {
        "structural": field.structural.mask,
        "local": field.local,
        "effective": field.energy.astype(np.float32),
    }
    pictures = {
        "structural": mask_picture(field.structural.mask),
        "local": mask_picture(field.local),
        "effective": effective_picture(field.energy, palette, log),
        "overlay": overlay_picture(
            field.shown, field.structural.mask, field.structural.box, field.footprint
        ),
    }
    files = {}
    for name, array in arrays.items():
        files[f"{name}.npy"] = f"{folder}/{name}.npy"
        store.save(files[f"{name}.npy"], partial(write_npy, array))
    for name, picture in pictures.items():
        files[f"{name}.png"] = f"{folder}/{name}.png"
        store.save(files[f"{name}.png"], partial(picture.save, format="PNG"))
    return {**as_dict(field, geometry), "files": files}


def write_document(store: Store, document: Mapping[str, Any]) -> None:
    """Write field.json."""
    text = strict_json(document, indent=2) + "\n"
    store.save(FIELDS, lambda file: file.write(text.encode()))
