"""The structural boxes of all output pixels, so that the page draws one before any pass has run."""

from __future__ import annotations

from dataclasses import dataclass

from gradviz.arrays import Size
from gradviz.field.reach.extents import Untold
from gradviz.field.reach.follow import follow
from gradviz.model.model import Model

Ends = list[tuple[int, int]]
"""The start and stop in the input of output columns, or rows; both 0 for none."""


@dataclass(frozen=True)
class Fields:
    """The structural boxes of an output map."""

    shape: tuple[int, ...] | None = None
    """The shape of the output without the batch axis; None if it is not known."""
    columns: Ends | None = None
    """The ends of each column; None if they are not known."""
    rows: Ends | None = None
    """The ends of each row."""
    reason: str = ""
    """The reason why they are not known."""


def fields_of(model: Model, channels: int, size: Size) -> Fields:
    """Follow a model without numbers over an input.

    Args:
        model: the model.
        channels: the channels of the input.
        size: its width and height.
    """
    try:
        shape, reach = follow(model, channels, size)[None]
    except Untold as error:
        return Fields(reason=str(error))
    found = list[Ends]()
    for axis in (0, 1):
        ends = reach.ends(shape, axis)
        if ends is None:
            return Fields(shape[1:], reason="the field of a pixel is no box")
        found.append(
            [
                (max(0, first), min(last + 1, size[axis])) if first <= last else (0, 0)
                for first, last in zip(*(each.tolist() for each in ends), strict=True)
            ]
        )
    columns, rows = found
    return Fields(shape[1:], columns, rows)
