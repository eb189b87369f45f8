"""The structural boxes of all output pixels, so that the page draws one before any pass has run."""

from __future__ import annotations

from gradviz.arrays import Size
from gradviz.field.reach.extents import Untold
from gradviz.field.reach.follow import follow
from gradviz.model.model import Model

Fields = dict[str, list[tuple[int, int]]]
"""The start and stop in the input of every output column (`x`) and row (`y`); both 0 for none."""


def fields_of(model: Model, channels: int, size: Size) -> tuple[Fields | None, str]:
    """Follow a model without numbers over an input of a size.

    Args:
        model: the model.
        channels: the channels of the input.
        size: its width and height.

    Returns:
        the fields; or None, and the reason why they are not known.
    """
    try:
        shape, reach = follow(model, channels, size)[None]
    except Untold as error:
        return None, str(error)
    found: Fields = {}
    for axis, name in enumerate("xy"):
        ends = reach.ends(shape, axis)
        if ends is None:
            return None, "its output is no map whose columns and rows look at columns and rows"
        found[name] = [
            (max(0, first), min(last + 1, size[axis])) if first <= last else (0, 0)
            for first, last in zip(*(each.tolist() for each in ends), strict=True)
        ]
    return found, ""
