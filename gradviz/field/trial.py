"""The trial of parts: do outputs and gradients of parts agree with those of the whole, in numbers?

This is for models that cannot be proved to be alike in parts (`gradviz.field.locality`), since one
of their operations is not known. It is tried on random input that is small or narrow, so it holds
only if the model does the same operations on the image and on its parts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import ceil, lcm
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from gradviz.arrays import Box, Size
from gradviz.backward.vjp import vjp
from gradviz.errors import GradvizError, ModelError
from gradviz.field.axis import Axis
from gradviz.field.geometry import measure_geometries
from gradviz.field.probe import ProbeFactory
from gradviz.field.strips import growing_probes
from gradviz.field.tiles import GridAxis, OutputGrid, Range, Tile, box_of
from gradviz.model.model import Model, in_doubles

PART_TOLERANCE = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-5, 1e-2)}
"""The largest difference of output and gradient between a part and the whole, relative to their
norm. In float32 rounding flips a unit now and then, which shows in the gradient alone."""

SPARE_PERIODS = 3
"""The periods by which the input on which parts are tried is longer than the field."""

SMALL_INPUT = 1 << 18
"""Pixels of an input on which parts are tried whatever the image is. A larger one must be less than
half of the image, so that trying takes no more memory than the image would."""

NARROWEST_STRIP = 64
"""The least pixels across a strip of input."""

USUAL_MULTIPLE = 64
"""Most models that pad their input pad it to a multiple of a divisor of this. The widths of strip
and image differ by multiples of it."""

WIDEST_STRIP = 256
"""Pixels across a strip above which its width and the image's differ by whole periods alone."""


class NotTileable(ModelError):
    """A model's output for a part of an image is not a part of its output for the image."""


class Trial:
    """The output grids of a model by the size of its input, as far as its parts agree.

    The field is measured once. Parts are tried once for all sizes that differ by whole periods.
    Strips are looked at once for each size. The tiles of an image are tried on strips of its own
    length before they are used, once for all images of its size that are cut in the same way.

    A finding about one image decides nothing about images of other sizes or cuts, so that a run
    decides alike whichever of its images a process begins with.
    """

    def __init__(self, model: Model, probe_at: ProbeFactory) -> None:
        """`probe_at` makes a probe of the model on random input of a size."""
        self._model = model
        self._probe_at = probe_at
        self._axes: tuple[Axis, Axis] | NotTileable | None = None
        self._tried: dict[Size, OutputGrid | NotTileable] = {}
        self._reach: dict[Size, NotTileable | None] = {}
        self._cuts: dict[frozenset[_CutKind], NotTileable | None] = {}

    def of(self, size: Size) -> OutputGrid:
        """The output grid of an input of this size.

        Raises:
            NotTileable: parts do not agree with the whole; the message is the reason alone.
        """
        if self._axes is None:
            self._axes = _caught(self._measured)
        if isinstance(self._axes, NotTileable):
            raise self._axes
        axes = self._axes
        width, height = (
            length % axis.shift + (axis.size // axis.shift + SPARE_PERIODS) * axis.shift
            for length, axis in zip(size, axes, strict=True)
        )
        if width * height > max(SMALL_INPUT, size[0] * size[1] // 2):
            raise NotTileable(
                f"an output pixel's field is too large: {axes[0].size}x{axes[1].size}"
            )
        if (width, height) not in self._tried:
            self._tried[width, height] = _caught(partial(self._small, axes, width, height))
        grid = self._tried[width, height]
        if isinstance(grid, NotTileable):
            raise grid
        grid = grid.at(size)
        if size not in self._reach:
            self._reach[size] = _caught(partial(self._check_reach, grid))
        beyond = self._reach[size]
        if beyond is not None:
            raise beyond
        return grid

    def check(self, size: Size, tiles: Sequence[Tile]) -> None:
        """Compare tiles of an input of this size with the whole, on strips as long as it.

        A model that pads its input to a multiple pads a part otherwise than the whole, which shows
        at some lengths and borders only.

        Raises:
            NotTileable: they differ; the message is the reason alone.
        """
        grid = self.of(size)
        for axis in (0, 1):
            cuts = _cuts(grid, axis, tiles)
            kinds = frozenset(cuts)
            if kinds and kinds not in self._cuts:
                self._cuts[kinds] = _caught(partial(self._check, grid, axis, [*cuts.values()]))
            differs = self._cuts.get(kinds)
            if differs is not None:
                raise differs

    def _check(self, grid: OutputGrid, axis: int, cuts: Sequence[Range]) -> None:
        strip = _strip(grid, axis)
        x = self._probe_at((strip.x.inputs, strip.y.inputs)).x.detach()
        # A strip of a huge image would take gigabytes in doubles.
        long = x[0, 0].numel() > SMALL_INPUT and self._model.dtype == torch.float32
        model = self._model if long else _precise(self._model)
        _compare_parts(model, x, strip, _boxes_across(strip, axis, cuts))

    def _check_reach(self, grid: OutputGrid) -> None:
        """Check that nothing farther away matters than a small input shows.

        It may if dilation sets the elements of a window far apart. The first and the last output
        pixel of a strip as long as the image look as far as any.

        Raises:
            NotTileable: something farther away matters.
        """
        for axis, side in enumerate((grid.x, grid.y)):
            strip = _strip(grid, axis)
            ends = (0, side.outputs - 1)
            probe = self._probe_at((strip.x.inputs, strip.y.inputs))
            seen = np.asarray(probe.lines(ends, axis).any(axis=axis))
            # At the border, interpolation may take its second element from farther inside.
            near = side.field.extent(ends[0])[1] + 1 + 2 * side.field.shift
            far = side.field.extent(ends[1])[0] - 2 * side.field.shift
            if seen[near : max(near, far)].any():
                raise NotTileable("an output pixel's field is larger than could be measured")

    def _measured(self) -> tuple[Axis, Axis]:
        shape = next(growing_probes(self._probe_at, 0, None)).shape
        if len(shape) not in (3, 4):
            raise NotTileable(f"its output {list(shape)} is no map")
        (geometry,) = measure_geometries(self._probe_at, [None])
        if geometry.x is None or geometry.y is None:
            through = geometry.through or "the largest input that was tried"
            raise NotTileable(f"an output pixel depends on the whole image, through {through}")
        return geometry.x, geometry.y

    def _small(self, axes: tuple[Axis, Axis], width: int, height: int) -> OutputGrid:
        """Measure the output grid of a small input, and try parts on it."""
        probe = self._probe_at((width, height))
        columns, rows = probe.size
        field = probe.structural(columns // 2, rows // 2)
        if field.lost_at:
            raise NotTileable(
                f"what an output pixel depends on is uncertain, by {field.lost_at[0]}"
            )
        grid = OutputGrid(GridAxis(axes[0], width, columns), GridAxis(axes[1], height, rows))
        _compare_parts(_precise(self._model), probe.x.detach(), grid, _boxes_to_try(grid))
        return grid


class _CutKind(NamedTuple):
    """The way in which a tile is cut along one axis."""

    axis: int
    """0 along the width, 1 along the height."""
    input_size: Size
    at_start: bool
    """True if the tile begins with the image."""
    at_end: bool
    length: int
    """Input pixels along the axis."""
    inner: Range
    """The part's own output pixels that are taken."""


def _cuts(grid: OutputGrid, axis: int, tiles: Iterable[Tile]) -> dict[_CutKind, Range]:
    """One example of each kind of cut along an axis; tiles that span all of it are skipped."""
    length = (grid.x, grid.y)[axis].inputs
    inputs = grid.x.inputs, grid.y.inputs
    cuts: dict[_CutKind, Range] = {}
    for tile in tiles:
        start, stop = tile.inputs[axis], tile.inputs[axis + 2]
        if stop - start < length:
            inner = tile.inner[axis], tile.inner[axis + 2]
            kind = _CutKind(axis, inputs, start == 0, stop == length, stop - start, inner)
            cuts[kind] = tile.outputs[axis], tile.outputs[axis + 2]
    return cuts


def _strip(grid: OutputGrid, axis: int) -> OutputGrid:
    """A strip as long as the grid along an axis, and narrow, but with the same rest across."""
    other = (grid.y, grid.x)[axis]
    step = lcm(other.field.shift, USUAL_MULTIPLE)
    if step > WIDEST_STRIP:
        step = other.field.shift
    width = other.at(min(other.inputs, other.inputs % step + ceil(NARROWEST_STRIP / step) * step))
    return OutputGrid(grid.x, width) if axis == 0 else OutputGrid(width, grid.y)


def _boxes_across(strip: OutputGrid, axis: int, cuts: Iterable[Range]) -> Iterator[Box]:
    """Boxes that span a strip's output: these cuts, one period at both ends, one in the middle."""
    for cut in (*_periods((strip.x, strip.y)[axis]), *cuts):
        yield box_of(cut, (0, strip.y.outputs)) if axis == 0 else box_of((0, strip.x.outputs), cut)


_Found = TypeVar("_Found")


def _caught(find: Callable[[], _Found]) -> _Found | NotTileable:
    """Call `find`; return NotTileable instead of raising it, or any other error of gradviz."""
    try:
        return find()
    except NotTileable as error:
        return error
    except GradvizError as error:
        return NotTileable(f"it cannot be tried on parts of an image: {error}")


def _precise(model: Model) -> Model:
    """A copy of the model in float64, which shows equality plainly, if the format allows one."""
    if model.input_shape is not None:
        return model  # torch does not copy exported programs without complaint
    with torch.no_grad():  # TorchScript copies by operations that autograd would record
        module = copy.deepcopy(model.module)
    return in_doubles(replace(model, module=module))


def _compare_parts(model: Model, x: Tensor, grid: OutputGrid, boxes: Iterable[Box]) -> None:
    """Compare the output and the gradient of parts of an input with those of the whole.

    Args:
        model: on the device of `x`.
        x: [1, C, h, w].
        grid: the model's output grid for `x`.
        boxes: of the output; each is one part.

    Raises:
        NotTileable: they differ.
    """
    generator = torch.Generator().manual_seed(0)
    output, gradient = PART_TOLERANCE.get(model.dtype, PART_TOLERANCE[torch.float32])
    whole = x.to(model.dtype).requires_grad_()
    y = model(whole)
    if y.shape[-2:] != (grid.y.outputs, grid.x.outputs):
        raise NotTileable("its output does not grow as the image does")
    there, v = torch.zeros_like(whole), torch.zeros_like(y)
    for outputs in boxes:
        tile = grid.tile(outputs)
        part = _crop(whole.detach(), tile.inputs).requires_grad_()
        y_part = model(part)
        expected, got = _crop(y, tile.outputs), _crop(y_part, tile.inner)
        if got.shape != expected.shape or not _close(got, expected, output):
            raise NotTileable("its output depends on where in the image a pixel is")
        some = torch.randn(got.shape, generator=generator).to(got)
        _crop(there, tile.inputs).add_(vjp(got, part, some))
        _crop(v, tile.outputs).add_(some)
    full = vjp(y, whole, v)  # one pass: the gradient is linear in v
    if not _close(there, full, gradient):
        raise NotTileable("its gradient depends on where in the image a pixel is")
    if not full.any():
        raise NotTileable("its gradient at random input is zero, which says nothing of parts")


def _boxes_to_try(grid: OutputGrid) -> Iterator[Box]:
    """Boxes of the output: one period in two opposite corners and one in the middle."""
    yield from map(box_of, _periods(grid.x), _periods(grid.y))


def _periods(side: GridAxis) -> list[Range]:
    """One period at both ends and one in the middle."""
    period = min(len(side.field.first), side.outputs)
    starts = (int(share * (side.outputs - period)) for share in (0, 0.5, 1))
    return [(start, start + period) for start in starts]


def _crop(tensor: Tensor, box: Box) -> Tensor:
    x0, y0, x1, y1 = box
    return tensor[..., y0:y1, x0:x1]


def _close(got: Tensor, expected: Tensor, tolerance: float) -> bool:
    # Not finite is not close.
    return bool((got - expected).norm() <= tolerance * expected.norm())
