"""PackedAnswer answers: a short JSON header, then arrays as float16 with their scales."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradviz.arrays import Box, Numbers, Size
from gradviz.text import strict_json

LARGEST = 32768.0
"""The number that stands for an array's finite value of largest size."""

ALIGNED = 8
"""The bytes of which the beginning of the arrays is a multiple."""


@dataclass(frozen=True, eq=False)
class Plane:
    """An array that lies in a window of a map; outside of the window the map is 0."""

    name: str
    values: Numbers
    """[C, h, w]."""
    size: Size
    """The width and height of the map."""
    window: Box
    """The place of the values in the map."""


@dataclass(frozen=True)
class PackedAnswer:
    """A header, and the arrays that follow it."""

    header: Mapping[str, object]
    planes: Sequence[Plane] = ()

    def body(self) -> bytes:
        """Write the answer: the length of the header, the header, the arrays."""
        parts, offset = list[bytes](), 0
        described = list[dict[str, object]]()
        for plane in self.planes:
            halves, scale = in_halves(plane.values)
            described.append(
                {
                    "name": plane.name,
                    "type": "float16",
                    "shape": list(plane.values.shape),
                    "scale": scale,
                    "size": list(plane.size),
                    "window": list(plane.window),
                    "offset": offset,
                }
            )
            parts.append(halves.tobytes())
            offset += halves.nbytes
        text = strict_json({**self.header, "arrays": described}).encode()
        text += b" " * (-(4 + len(text)) % ALIGNED)
        return b"".join([struct.pack("<I", len(text)), text, *parts])


def in_halves(values: Numbers) -> tuple[NDArray[np.float16], float]:
    """Scale numbers to float16, so that the finite one of largest size becomes `LARGEST`.

    Args:
        values: any shape.

    Returns:
        the scaled numbers, little-endian, and the scale: `values ≈ scaled * scale`. NaN and Inf
        stay what they are.
    """
    finite = np.abs(values, dtype=np.float64)[np.isfinite(values)]
    largest = float(finite.max(initial=0.0))
    scale = largest / LARGEST if largest > 0 else 1.0
    scaled = values.astype(np.float64) / scale
    return scaled.astype("<f2"), scale


def unpacked(body: bytes) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """Read a packed answer back: its header, and each whole map by name.

    Args:
        body: what `PackedAnswer.body` wrote.
    """
    (length,) = struct.unpack_from("<I", body)
    header = json.loads(body[4 : 4 + length])
    found = {}
    for each in header["arrays"]:
        count = int(np.prod(each["shape"]))
        start = 4 + length + each["offset"]
        halves = np.frombuffer(body, "<f2", count, start).reshape(each["shape"])
        width, height = each["size"]
        x0, y0, x1, y1 = each["window"]
        whole = np.zeros((len(halves), height, width))
        whole[:, y0:y1, x0:x1] = halves.astype(np.float64) * each["scale"]
        found[each["name"]] = whole
    return header, found
