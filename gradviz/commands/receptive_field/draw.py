"""The pictures of one field, in the input's pixels or in the photo's."""

from __future__ import annotations

from PIL import Image

from gradviz.arrays import Array, Box, box_around
from gradviz.commands.receptive_field.measure import Field
from gradviz.field.effective import energy_regions
from gradviz.field.pictures import effective_picture, mask_picture, overlay_picture
from gradviz.heatmap.colours import Palette

SMALL = 4
"""A field whose box takes at most this part of both sides of a picture has a close-up."""

_MARGIN = 0.25
"""The part of the longer side of the box that a close-up shows around it."""

CLOSE_UP_SIDE = 512
"""The pixels that the longer side of a close-up has at least."""


def pictures_of(field: Field, palette: Palette, log: bool) -> dict[str, Image.Image]:
    """Draw a field.

    Args:
        field: the field.
        palette: the colours of the effective field.
        log: True to draw the effective field in logarithmic colours.

    Returns:
        the pictures by name: `structural`, `local`, `effective`, `overlay`, and `closeup` if the
        field is small in the picture.
    """
    mask, local = in_picture(field, field.structural.mask), in_picture(field, field.local)
    energy = in_picture(field, field.energy)
    # Smoothed, the regions reach a little way out of the field.
    contours = [in_picture(field, each) & mask for each in energy_regions(field.energy)]
    footprint = footprint_of(field)
    box = box_around(mask)
    pictures = {
        "structural": mask_picture(mask),
        "local": mask_picture(local),
        "effective": effective_picture(energy, palette, log),
        "overlay": overlay_picture(field.shown, mask, box, footprint, contours),
    }
    if box is not None and is_small(box, mask.shape):
        x0, y0, x1, y1 = part_around(box, mask.shape)
        times = max(1, -(-CLOSE_UP_SIDE // max(x1 - x0, y1 - y0)))

        def close(array: Array) -> Array:
            return array[y0:y1, x0:x1].repeat(times, 0).repeat(times, 1)

        def moved(place: float, edge: int) -> float:
            return (place - edge) * times

        left, top, right, bottom = (
            moved(place, edge) for place, edge in zip(footprint, (x0, y0, x0, y0), strict=True)
        )
        pictures["closeup"] = overlay_picture(
            close(field.shown),
            close(mask),
            box_around(close(mask)),
            (left, top, right, bottom),
            [close(each) for each in contours],
        )
    return pictures


def in_picture(field: Field, array: Array) -> Array:
    """Place an array [h, w] of the input in the picture's pixels; what was cropped away is zero."""
    return array if field.frame is None else field.frame.in_image(array, 0)


def footprint_of(field: Field) -> tuple[float, float, float, float]:
    """Return the part of the picture that the output pixel covers: x0, y0, x1, y1."""
    if field.frame is None:
        return field.footprint
    x0, y0, x1, y1 = field.footprint
    return (*field.frame.to_image(x0, y0), *field.frame.to_image(x1, y1))


def is_small(box: Box, shape: tuple[int, ...]) -> bool:
    """Return True if a field of this box has a close-up in a picture of this shape [H, W]."""
    x0, y0, x1, y1 = box
    return SMALL * (x1 - x0) <= shape[1] and SMALL * (y1 - y0) <= shape[0]


def part_around(box: Box, shape: tuple[int, ...]) -> Box:
    """Find the part of a picture of this shape [H, W] that a close-up around a box shows."""
    x0, y0, x1, y1 = box
    margin = max(2, round(_MARGIN * max(x1 - x0, y1 - y0)))
    part = max(0, x0 - margin), max(0, y0 - margin), x1 + margin, y1 + margin
    return *part[:2], min(part[2], shape[1]), min(part[3], shape[0])
