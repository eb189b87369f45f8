"""Tiles: boxes of the output, and the boxes of the input that hold their fields.

A model whose output moves with the image computes an output pixel from the pixels of its field
alone. So any box of the input suffices that holds the field, begins at a multiple of the period,
and ends at one or at the image's own border, where the model pads as it does for the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradviz.arrays import Box, Size
from gradviz.field.axis import Axis

if TYPE_CHECKING:
    from torch import Tensor

Range = tuple[int, int]
"""Start and stop; half-open: the stop is exclusive."""


@dataclass(frozen=True)
class GridAxis:
    """The width, or the height, of an input and of the output map that a model makes of it."""

    field: Axis
    """The model's receptive field along it."""
    inputs: int
    """The number of input pixels."""
    outputs: int
    """The number of output pixels."""

    def at(self, inputs: int) -> GridAxis:
        """Return the axis of another input, whose length differs by a multiple of the period."""
        periods, rest = divmod(inputs - self.inputs, self.field.shift)
        if rest:
            raise ValueError(f"{inputs} is not {self.inputs} plus a multiple of {self.field.shift}")
        return replace(self, inputs=inputs, outputs=self.outputs + periods * len(self.field.first))

    def needed(self, outputs: Range) -> Range:
        """Find the input pixels that hold the fields of output pixels, cut at whole periods.

        Near a border they are as many as inside, if the input has so many. So few lengths occur,
        and few parts have to be proved.
        """
        start, stop = outputs
        period = len(self.field.first)  # later fields begin and end later by whole shifts
        first = min(self.field.extent(i)[0] for i in range(start, min(stop, start + period)))
        last = max(self.field.extent(i)[1] for i in range(max(start, stop - period), stop))
        shift = self.field.shift
        low, high = first // shift * shift, (last // shift + 1) * shift
        begin = max(0, min(low, (self.inputs - (high - low)) // shift * shift))
        return begin, min(self.inputs, max(high, begin + high - low))

    def within(self, outputs: Range, inputs: Range) -> Range:
        """Find the positions of output pixels in the output of some input pixels alone.

        Args:
            outputs: the output pixels, in the output of the whole input.
            inputs: the input pixels.
        """
        before = inputs[0] // self.field.shift * len(self.field.first)
        return outputs[0] - before, outputs[1] - before

    def split(self, outputs: Range, length: int) -> list[Range]:
        """Split output pixels into parts of about equal length.

        Args:
            outputs: the output pixels.
            length: the most input pixels that a part stands for; it is never less than one period.
        """
        start, stop = outputs
        period = len(self.field.first)
        most = max(1, length // self.field.shift) * period
        count = -(-(stop - start) // most)
        step = -(-(stop - start) // (count * period)) * period
        return [(low, min(low + step, stop)) for low in range(start, stop, step)]


@dataclass(frozen=True)
class Tile:
    """A part of the output, and the part of the input that it is computed from."""

    outputs: Box
    """The part of the output, in the output of the whole input."""
    inputs: Box
    """The part of the input."""
    inner: Box
    """The part of the output, in the output of `inputs` alone."""


@dataclass(frozen=True)
class OutputGrid:
    """An input and the output map that a model makes of it."""

    x: GridAxis
    y: GridAxis

    @property
    def size(self) -> Size:
        """The width and height of the output map."""
        return self.x.outputs, self.y.outputs

    def at(self, inputs: Size) -> OutputGrid:
        """Return the grid of an input whose width and height differ by multiples of the period."""
        return OutputGrid(self.x.at(inputs[0]), self.y.at(inputs[1]))

    def tile(self, outputs: Box) -> Tile:
        """Find the part of the input from which a box of the output is computed."""
        x0, y0, x1, y1 = outputs
        columns, rows = self.x.needed((x0, x1)), self.y.needed((y0, y1))
        inner = self.x.within((x0, x1), columns), self.y.within((y0, y1), rows)
        return Tile(outputs, box_of(columns, rows), box_of(*inner))

    def tiles(self, outputs: Box, length: int) -> list[Tile]:
        """Split a box of the output into tiles, row by row.

        Args:
            outputs: the box.
            length: the approximate sides of a tile in input pixels, without its halo.
        """
        x0, y0, x1, y1 = outputs
        return [
            self.tile(box_of(columns, rows))
            for rows in self.y.split((y0, y1), length)
            for columns in self.x.split((x0, x1), length)
        ]


def output_of_tiles(
    tiles: Iterable[Tile], size: Size, output_of: Callable[[Tile], Tensor]
) -> Tensor:
    """Put the outputs of tiles together.

    Args:
        tiles: the tiles of the whole map, at least one.
        size: the width and height of the whole map.
        output_of: computes the output [..., h, w] of a tile's part of the image.

    Returns:
        the output [..., H, W] of the whole image, float32 on the CPU.
    """
    width, height = size
    whole: Tensor | None = None
    for tile in tiles:
        part = output_of(tile).float().cpu()
        if whole is None:
            whole = part.new_zeros(*part.shape[:-2], height, width)
        (x0, y0, x1, y1), (a, b, c, d) = tile.outputs, tile.inner
        whole[..., y0:y1, x0:x1] = part[..., b:d, a:c]
    assert whole is not None
    return whole


def input_pixels(tiles: Sequence[Tile]) -> int:
    """Count the input pixels of tiles, halos included."""
    return sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (tile.inputs for tile in tiles))


def box_of(columns: Range, rows: Range) -> Box:
    """Return the box that spans these columns and rows."""
    return columns[0], rows[0], columns[1], rows[1]
