"""The places of a seed: from the pixels that a user names to a box of the output map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING

from gradviz.errors import SeedError
from gradviz.seeds.outputs import OutputKind, output_kind
from gradviz.seeds.suppression import Suppression

if TYPE_CHECKING:
    from torch import Tensor

    from gradviz.arrays import Box, Size
    from gradviz.image.frame import Frame


@dataclass(frozen=True)
class Part:
    """A window of an output map, for a pass that computes only that window."""

    box: Box
    """The place of the window in the whole map."""
    of: Size
    """The size of the whole map."""


@dataclass(frozen=True)
class Centres:
    """The centres of the fields of output pixels along one axis, in input pixels; exact."""

    first: Fraction
    """The middle of output pixel 0's field; input pixel i covers [i, i + 1)."""
    stride: Fraction
    """The way from one middle to the next."""

    def nearest(self, place: float, count: int) -> int:
        """The one of `count` output pixels whose middle is nearest to a place."""
        index = floor((Fraction(place) - self.first) / self.stride + Fraction(1, 2))
        return min(max(index, 0), count - 1)


@dataclass(frozen=True)
class Site:
    """The facts beside the output that a seed may depend on."""

    frame: Frame | None = None
    """The map between the image file's pixels and the input's; None for a bare tensor."""
    labels: tuple[str, ...] = ()
    """The names of the classes, in the order of the channels."""
    part: Part | None = None
    """The part of the output map that is computed; None for all of it."""
    centres: tuple[Centres, Centres] | None = None
    """The centres of the fields of output pixels, along x and y; None if they are unknown."""
    apart: bool = False
    """True if each score is a probability of its own, as after a sigmoid: they have no shares."""
    suppression: Suppression | None = None
    """The rule by which detections are chosen; None if the output holds no detections."""
    no_map: str | None = None
    """The reason why an output [N, L, K] is not a map; None if it is one."""

    def kind_of(self, y: Tensor) -> OutputKind:
        """Return the kind of one image's output.

        Args:
            y: the output without the batch axis.
        """
        if self.suppression is not None:
            return OutputKind.DETECTIONS
        return OutputKind.ROWS if self.no_map is not None and y.dim() == 2 else output_kind(y)


def bounding_box(boxes: Sequence[Box]) -> Box:
    """Find the smallest box that holds all boxes.

    Args:
        boxes: at least one.
    """
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def pixel_box(size: Size, site: Site, x: int, y: int, channel: int | None = None) -> Box:
    """Find the box of one output pixel.

    Args:
        size: width and height of the output map.
        site: the image and the labels.
        x: the column, from 0.
        y: the row, from 0.
        channel: the channel, which does not change the box.

    Returns:
        the box of that pixel alone.

    Raises:
        SeedError: the pixel is outside the map.
    """
    check_index("x", x, size[0])
    check_index("y", y, size[1])
    return x, y, x + 1, y + 1


def at_box(size: Size, site: Site, x: int, y: int, channel: int | None = None) -> Box:
    """Find the box of the output pixel whose field lies around a pixel of the image file.

    Args:
        size: width and height of the output map.
        site: the image and the labels.
        x: the column in the image file, from 0.
        y: the row in the image file, from 0.
        channel: the channel, which does not change the box.

    Raises:
        SeedError: the pixel is outside the image or was cropped away, or there is no image file.
    """
    if site.frame is None:
        raise SeedError("a bare tensor has no image file; use pixel:X,Y")
    u, v = site.frame.to_input(x, y)
    if site.centres is None:
        # Then the output map is taken to cover the input evenly, whatever its resolution.
        column, row = (
            int(place * outputs / inputs)
            for place, outputs, inputs in zip((u, v), size, site.frame.input, strict=True)
        )
    else:
        column, row = (
            centres.nearest(place, count)
            for centres, place, count in zip(site.centres, (u, v), size, strict=True)
        )
    return pixel_box(size, site, column, row)


def region_box(size: Size, site: Site, *numbers: int) -> Box:
    """Read the box x0, y0, x1, y1 of output pixels, right and bottom exclusive.

    Args:
        size: width and height of the output map.
        site: the image and the labels.
        numbers: the four sides; a channel may follow.

    Raises:
        SeedError: the box is empty, or leaves the map.
    """
    x0, y0, x1, y1 = numbers[:4]
    for axis, low, high, end in (("x", x0, x1, size[0]), ("y", y0, y1, size[1])):
        if not 0 <= low < high <= end:
            raise SeedError(
                f"{axis} from {low} to {high} is not a range within 0 to {end} "
                f"(right and bottom exclusive; the output map is {size[0]}x{size[1]})"
            )
    return x0, y0, x1, y1


def edges_in_input(size: Size, site: Site) -> tuple[list[float], list[float]]:
    """Find where the edges of output pixels lie in the input.

    An output pixel covers one stride around the centre of its field. If the centres are not known,
    the output map is taken to cover the input evenly.

    Args:
        size: width and height of the output map.
        site: the image; it has a frame.

    Returns:
        the w + 1 edges along x and the h + 1 along y, within the input.
    """
    import numpy as np

    assert site.frame is not None
    both = list[list[float]]()
    for axis, (count, length) in enumerate(zip(size, site.frame.input, strict=True)):
        places = np.arange(count + 1)
        if site.centres is None:
            edges = places * length / count
        else:
            first, stride = site.centres[axis].first, site.centres[axis].stride
            # In whole numbers: as fractions, the edges of a large map take as long as a pass.
            start, whole = first - stride / 2, first.denominator * stride.denominator * 2
            edges = (int(start * whole) + places * int(stride * whole)) / whole
        both.append(edges.clip(0, length).tolist())
    return both[0], both[1]


def part_of(planes: Tensor, site: Site) -> Part:
    """Return the window of the output map that some planes show, or the whole map.

    Args:
        planes: [C, h, w].
        site: the image and the labels.
    """
    height, width = planes.shape[1:]
    return site.part or Part((0, 0, width, height), (width, height))


def check_index(what: str, index: int, size: int) -> None:
    """Check that 0 <= index < size.

    Args:
        what: the name of the index in the message.
        index: the index.
        size: the number of places.

    Raises:
        SeedError: the index is outside.
    """
    if not 0 <= index < size:
        raise SeedError(f"{what} {index} is outside the output: 0 to {size - 1}")
