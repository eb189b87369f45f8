"""Whether a model's answer moves with the image, so that a part of the image gives a part of it.

A bounded field is not enough: `align_corners=True`, coordinate channels and position embeddings
make the answer depend on where a pixel is, or on the size of the image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import ceil, lcm
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from gradviz.arrays import Box, Size
from gradviz.backward.vjp import vjp
from gradviz.errors import GradvizError, ModelError
from gradviz.field.geometry import Axis, growing_probes, measure_geometries
from gradviz.field.probe import ProbeFactory
from gradviz.field.tiles import Canvas, Range, Side, Tile, box_of
from gradviz.model.model import Model, in_doubles

TOLERANCE = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-5, 1e-2)}
"""How far output and gradient of a crop may be from those of the whole, relative to their norm. In
float32 rounding flips a unit now and then, which shows in the gradient alone."""

ROOM = 3
"""How many periods more than the field the input has on which a model is tried."""

LITTLE = 1 << 18
"""Pixels on which a model is tried whatever the image is; on more, if they are less than half of
the image, so that trying takes no more memory than the image would."""

STRIP = 64
"""Pixels across a strip of input, at least."""

MULTIPLE = 64
"""Models that pad their input do so to a multiple of a divisor of this, as a rule. Strips are as
wide as the image up to multiples of it."""

WIDEST = 256
"""Pixels across a strip from which it is as wide as the image up to whole periods alone."""


class NotLocal(ModelError):
    """A model's answer to a part of the image is not a part of its answer."""


class Canvases:
    """The output maps of a model by the size of its input, where parts of the input give parts of
    them.

    The field is measured once, parts are tried once for all sizes that differ by whole periods, and
    strips are looked at where an image is larger than those before. The tiles of an image are tried
    on strips of its own length before they are used.
    """

    def __init__(self, model: Model, probe_at: ProbeFactory) -> None:
        """`probe_at` makes a probe of the model on random input of a size."""
        self._model = model
        self._probe_at = probe_at
        self._axes: tuple[Axis, Axis] | NotLocal | None = None
        self._tried: dict[Size, Canvas | NotLocal] = {}
        self._seen = (0, 0)
        self._held: set[_Kind] = set()

    def of(self, size: Size) -> Canvas:
        """That of an input of this width and height.

        Raises:
            NotLocal: parts do not agree with the whole, or cannot; the message is the reason alone.
        """
        if self._axes is None:
            self._axes = _caught(self._measured)
        if isinstance(self._axes, NotLocal):
            raise self._axes
        axes = self._axes
        width, height = (
            length % axis.shift + (axis.size // axis.shift + ROOM) * axis.shift
            for length, axis in zip(size, axes, strict=True)
        )
        if width * height > max(LITTLE, size[0] * size[1] // 2):
            raise NotLocal(f"an output pixel's field is too large: {axes[0].size}x{axes[1].size}")
        if (width, height) not in self._tried:
            self._tried[width, height] = _caught(partial(self._small, axes, width, height))
        canvas = self._tried[width, height]
        if isinstance(canvas, NotLocal):
            raise canvas
        canvas = canvas.at(size)
        if self._seen[0] < size[0] or self._seen[1] < size[1]:
            beyond = _caught(partial(self._look_far, canvas))
            if isinstance(beyond, NotLocal):
                self._axes = beyond
                raise beyond
            self._seen = max(self._seen[0], size[0]), max(self._seen[1], size[1])
        return canvas

    def check(self, size: Size, tiles: Sequence[Tile]) -> None:
        """Compare tiles of an input of this width and height with the whole, on strips as long as
        it. A model that pads its input to a multiple does so otherwise for a part than for the
        whole, which shows at some lengths and borders only.

        Raises:
            NotLocal: they differ; the message is the reason alone.
        """
        found = _caught(partial(self._check, self.of(size), tiles))
        if isinstance(found, NotLocal):
            self._axes = found
            raise found

    def _check(self, canvas: Canvas, tiles: Sequence[Tile]) -> None:
        for axis in (0, 1):
            cuts = _cuts(canvas, axis, tiles)
            new = [cut for kind, cut in cuts.items() if kind not in self._held]
            if new:
                strip = _strip(canvas, axis)
                x = self._probe_at((strip.x.inputs, strip.y.inputs)).x.detach()
                # A strip of a huge image would take gigabytes in doubles.
                long = x[0, 0].numel() > LITTLE and self._model.dtype == torch.float32
                model = self._model if long else _precise(self._model)
                _try(model, x, strip, _across(strip, axis, new))
                self._held |= cuts.keys()

    def _look_far(self, canvas: Canvas) -> None:
        """Whether anything farther away matters that a small input does not show, as where
        dilation sets a window's elements far apart: on strips as long as the image, by the first
        and the last output pixel, which together see as far as there is to see.

        Raises:
            NotLocal: something does.
        """
        for axis, side in enumerate((canvas.x, canvas.y)):
            strip = _strip(canvas, axis)
            ends = (0, side.outputs - 1)
            probe = self._probe_at((strip.x.inputs, strip.y.inputs))
            seen = np.asarray(probe.lines(ends, axis).any(axis=axis))
            # At the border, interpolation may take its second element from farther inside.
            near = side.axis.extent(ends[0])[1] + 1 + 2 * side.axis.shift
            far = side.axis.extent(ends[1])[0] - 2 * side.axis.shift
            if seen[near : max(near, far)].any():
                raise NotLocal("an output pixel's field is larger than could be measured")

    def _measured(self) -> tuple[Axis, Axis]:
        shape = next(growing_probes(self._probe_at, 0, None)).shape
        if len(shape) not in (3, 4):
            raise NotLocal(f"its output {list(shape)} is no map")
        (geometry,) = measure_geometries(self._probe_at, [None])
        if geometry.x is None or geometry.y is None:
            through = geometry.through or "the largest input that was tried"
            raise NotLocal(f"an output pixel depends on the whole image, through {through}")
        return geometry.x, geometry.y

    def _small(self, axes: tuple[Axis, Axis], width: int, height: int) -> Canvas:
        """The map of a small input, on which parts were tried."""
        probe = self._probe_at((width, height))
        columns, rows = probe.size
        field = probe.structural(columns // 2, rows // 2)
        if field.lost_at:
            raise NotLocal(f"what an output pixel depends on is uncertain, by {field.lost_at[0]}")
        canvas = Canvas(Side(axes[0], width, columns), Side(axes[1], height, rows))
        _try(_precise(self._model), probe.x.detach(), canvas, _samples(canvas))
        return canvas


_Kind = tuple[int, Size, bool, bool, int]
"""Of a tile along an axis: the axis, the input's size, whether it begins and whether it ends with
the image, and its length in input pixels."""


def _cuts(canvas: Canvas, axis: int, tiles: Iterable[Tile]) -> dict[_Kind, Range]:
    """The output pixels along an axis of one tile of every kind, but of those that have all."""
    length = (canvas.x, canvas.y)[axis].inputs
    inputs = canvas.x.inputs, canvas.y.inputs
    cuts: dict[_Kind, Range] = {}
    for tile in tiles:
        start, stop = tile.inputs[axis], tile.inputs[axis + 2]
        if stop - start < length:
            kind = (axis, inputs, start == 0, stop == length, stop - start)
            cuts[kind] = tile.outputs[axis], tile.outputs[axis + 2]
    return cuts


def _strip(canvas: Canvas, axis: int) -> Canvas:
    """As long along the axis, and narrow, but with the same rest across."""
    other = (canvas.y, canvas.x)[axis]
    step = lcm(other.axis.shift, MULTIPLE)
    if step > WIDEST:
        step = other.axis.shift
    width = other.at(min(other.inputs, other.inputs % step + ceil(STRIP / step) * step))
    return Canvas(canvas.x, width) if axis == 0 else Canvas(width, canvas.y)


def _across(strip: Canvas, axis: int, cuts: Iterable[Range]) -> Iterator[Box]:
    """Boxes of a strip's output, as wide as it: these, and one period at both ends and in the
    middle."""
    for cut in (*_periods((strip.x, strip.y)[axis]), *cuts):
        yield box_of(cut, (0, strip.y.outputs)) if axis == 0 else box_of((0, strip.x.outputs), cut)


Found = TypeVar("Found")


def _caught(find: Callable[[], Found]) -> Found | NotLocal:
    """What is found, or why there is nothing."""
    try:
        return find()
    except NotLocal as error:
        return error
    except GradvizError as error:
        return NotLocal(f"it cannot be tried on parts of an image: {error}")


def _precise(model: Model) -> Model:
    """A copy in doubles, where equality is plain to see, if the format allows."""
    if model.input_shape is not None:
        return model  # torch does not copy exported programs without complaint
    with torch.no_grad():  # TorchScript copies by operations that autograd would record
        module = copy.deepcopy(model.module)
    return in_doubles(replace(model, module=module))


def _try(model: Model, x: Tensor, canvas: Canvas, boxes: Iterable[Box]) -> None:
    """Compare output and gradient of parts of x [1, C, h, w], one for each of these boxes of the
    output, with those of the whole.

    Raises:
        NotLocal: they differ.
    """
    generator = torch.Generator().manual_seed(0)
    output, gradient = TOLERANCE.get(model.dtype, TOLERANCE[torch.float32])
    whole = x.to(model.dtype).requires_grad_()
    y = model(whole)
    if y.shape[-2:] != (canvas.y.outputs, canvas.x.outputs):
        raise NotLocal("its output does not grow as the image does")
    there, v = torch.zeros_like(whole), torch.zeros_like(y)
    for outputs in boxes:
        tile = canvas.tile(outputs)
        part = _cut(whole.detach(), tile.inputs).requires_grad_()
        y_part = model(part)
        expected, got = _cut(y, tile.outputs), _cut(y_part, tile.inner)
        if got.shape != expected.shape or not _close(got, expected, output):
            raise NotLocal("its output depends on where in the image a pixel is")
        some = torch.randn(got.shape, generator=generator).to(got)
        _cut(there, tile.inputs).add_(vjp(got, part, some))
        _cut(v, tile.outputs).add_(some)
    full = vjp(y, whole, v)  # one pass: the gradient is linear in v
    if not _close(there, full, gradient):
        raise NotLocal("its gradient depends on where in the image a pixel is")
    if not full.any():
        raise NotLocal("its gradient at random input is zero, which says nothing of parts")


def _samples(canvas: Canvas) -> Iterator[Box]:
    """Boxes of the output: one period at every border and in the middle."""
    yield from map(box_of, _periods(canvas.x), _periods(canvas.y))


def _periods(side: Side) -> list[Range]:
    """At both ends and in the middle."""
    period = min(len(side.axis.first), side.outputs)
    starts = (int(share * (side.outputs - period)) for share in (0, 0.5, 1))
    return [(start, start + period) for start in starts]


def _cut(tensor: Tensor, box: Box) -> Tensor:
    x0, y0, x1, y1 = box
    return tensor[..., y0:y1, x0:x1]


def _close(got: Tensor, expected: Tensor, tolerance: float) -> bool:
    # Not finite is not close.
    return bool((got - expected).norm() <= tolerance * expected.norm())
