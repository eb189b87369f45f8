"""Which part of the input a part of the output needs: output boxes, and the input boxes that hold
their fields.

A model that moves its answer with the image computes an output pixel from the pixels of its field
alone. So any box of the input will do that holds the field, begins at a multiple of the period, and
ends at one or at the image's own border, where the model pads as it does for the whole image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradviz.arrays import Box, Size
from gradviz.field.geometry import Axis

Range = tuple[int, int]
"""Start and stop; half-open: the stop is exclusive."""


@dataclass(frozen=True)
class Side:
    """The width, or the height, of an input and of the output map that a model makes of it."""

    axis: Axis
    """The model's field along it."""
    inputs: int
    outputs: int

    def at(self, inputs: int) -> Side:
        """The same of another input, whose length differs by a multiple of the period."""
        periods, rest = divmod(inputs - self.inputs, self.axis.shift)
        if rest:
            raise ValueError(f"{inputs} is not {self.inputs} plus a multiple of {self.axis.shift}")
        return replace(self, inputs=inputs, outputs=self.outputs + periods * len(self.axis.first))

    def needed(self, outputs: Range) -> Range:
        """The input pixels that hold the fields of these output pixels, cut at whole periods."""
        start, stop = outputs
        period = len(self.axis.first)  # later fields begin and end later by whole shifts
        first = min(self.axis.extent(i)[0] for i in range(start, min(stop, start + period)))
        last = max(self.axis.extent(i)[1] for i in range(max(start, stop - period), stop))
        shift = self.axis.shift
        return max(0, first // shift * shift), min(self.inputs, (last // shift + 1) * shift)

    def within(self, outputs: Range, inputs: Range) -> Range:
        """Where these output pixels lie in the output of the input pixels alone."""
        before = inputs[0] // self.axis.shift * len(self.axis.first)
        return outputs[0] - before, outputs[1] - before

    def cut(self, outputs: Range, length: int) -> list[Range]:
        """These output pixels in parts of about equal length, each standing for `length` input
        pixels at most, or for one period."""
        start, stop = outputs
        period = len(self.axis.first)
        most = max(1, length // self.axis.shift) * period
        count = -(-(stop - start) // most)
        step = -(-(stop - start) // (count * period)) * period
        return [(low, min(low + step, stop)) for low in range(start, stop, step)]


@dataclass(frozen=True)
class Tile:
    """A part of the output, and the part of the input that it is computed from."""

    outputs: Box
    """In the output of the whole input."""
    inputs: Box
    """In the input."""
    inner: Box
    """`outputs`, in the output of `inputs` alone."""


@dataclass(frozen=True)
class Canvas:
    """An input and the output map that a model makes of it."""

    x: Side
    y: Side

    @property
    def size(self) -> Size:
        """Width and height of the output map."""
        return self.x.outputs, self.y.outputs

    def at(self, inputs: Size) -> Canvas:
        """That of an input whose width and height differ by multiples of the period."""
        return Canvas(self.x.at(inputs[0]), self.y.at(inputs[1]))

    def tile(self, outputs: Box) -> Tile:
        """What a box of the output needs."""
        x0, y0, x1, y1 = outputs
        columns, rows = self.x.needed((x0, x1)), self.y.needed((y0, y1))
        inner = self.x.within((x0, x1), columns), self.y.within((y0, y1), rows)
        return Tile(outputs, box_of(columns, rows), box_of(*inner))

    def tiles(self, outputs: Box, length: int) -> list[Tile]:
        """A box of the output in tiles, each of about `length` input pixels a side beside its halo,
        row by row."""
        x0, y0, x1, y1 = outputs
        return [
            self.tile(box_of(columns, rows))
            for rows in self.y.cut((y0, y1), length)
            for columns in self.x.cut((x0, x1), length)
        ]


def area(tiles: Sequence[Tile]) -> int:
    """How many input pixels tiles have in all, halos included."""
    return sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (tile.inputs for tile in tiles))


def box_of(columns: Range, rows: Range) -> Box:
    """That of a range of columns and one of rows."""
    return columns[0], rows[0], columns[1], rows[1]
