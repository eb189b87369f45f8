"""Where a pixel of the input tensor lies in the image file, and back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """The map between the pixels of the image file and those of the tensor that enters the model.

    The image is resized as a whole, then cropped. Coordinates are continuous: pixel `i` covers
    `[i, i + 1)` and has its centre at `i + 0.5`. The image file's pixels are meant upright, as a
    viewer shows them (EXIF orientation applied).
    """

    image: tuple[int, int]
    """Width and height of the upright image file."""
    resized: tuple[int, int]
    """Width and height after the resize, before the crop."""
    origin: tuple[int, int]
    """Left and top edge of the crop, in resized pixels."""
    input: tuple[int, int]
    """Width and height of the input tensor."""
