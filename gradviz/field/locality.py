"""The check that a model can be tiled: a part of the image must give a part of the output.

A bounded field is not enough: `align_corners=True`, coordinate channels and position embeddings
make the output depend on where a pixel is, branches on the size of the image. So the model is
followed, without numbers, over the whole image and over the part. Where the names of the output
pixels are the same, they are computed by the same operations from the same pixels in the same way:
a proof for this very size and this very part, of the gradient too.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from gradviz.arrays import Box, Size
from gradviz.field.axis import Axis
from gradviz.field.geometry import bounded_axis, field_in
from gradviz.field.probe import ProbeFactory
from gradviz.field.reach.arguments import Shape
from gradviz.field.reach.call import Reach
from gradviz.field.reach.extents import Extents, Names, Untold
from gradviz.field.reach.follow import follow, operations
from gradviz.field.tiles import GridAxis, OutputGrid, Range, Tile
from gradviz.field.trial import NotTileable, Trial
from gradviz.model.model import Model

FollowedOutput = tuple[Shape, Reach]
"""The shape of an output, and what it was computed from."""

ProvedPart = tuple[tuple[int, int], FollowedOutput]
"""The place at which a part of an image begins, and the pass over it."""

PARTS_KEPT = 16
"""The parts of one size that are kept: those at each corner and border, and inside, are nine."""

Parts = Literal["proved", "tried"]
"""The evidence that parts agree with the whole."""


@dataclass(frozen=True)
class KnownGrid:
    """The output grid of an input, and what is known of its parts."""

    grid: OutputGrid
    unproved: str = ""
    """The reason why no part can be proved to agree with the whole; empty if one can be."""


class Locality:
    """The findings about a model's parts, by the size of the image."""

    def __init__(
        self,
        model: Model,
        channels: int,
        probe_at: ProbeFactory,
        axes: Sequence[Axis | None] = (),
    ) -> None:
        """Take what is asked.

        Args:
            model: the model.
            channels: the channels of its images.
            probe_at: makes a probe of it on random input of a size.
            axes: the fields along x and y, if they were measured before.
        """
        self._model = model
        self._channels = channels
        self._trial = Trial(model, probe_at)
        self._follow = lru_cache(32)(self._followed)
        self._proved: defaultdict[tuple[Size, Size], deque[ProvedPart]] = defaultdict(
            lambda: deque(maxlen=PARTS_KEPT)
        )
        self._axes: dict[int, Axis | None] = dict(enumerate(axes))

    def of(self, size: Size) -> KnownGrid:
        """Find the output grid of an image of this size.

        Raises:
            NotTileable: there is none, or parts do not agree with the whole; the message is the
                reason alone.
        """
        whole = self._follow(size, (0, 0))
        if isinstance(whole, Untold):
            return KnownGrid(self._trial.of(size), str(whole))
        return KnownGrid(self._grid(size, whole))

    def proved(self, size: Size, outputs: Box) -> Tile | None:
        """Find the part of an image of this size from which a box of the output is computed.

        Returns:
            None if no part is proved to agree with the whole.
        """
        whole = self._follow(size, (0, 0))
        if isinstance(whole, Untold):
            return None
        try:
            tile = self._grid(size, whole).tile(outputs)
            self._prove(size, whole, [tile])
        except NotTileable:
            return None
        return tile

    def _grid(self, size: Size, whole: FollowedOutput) -> OutputGrid:
        shape, _ = whole
        if len(shape) not in (3, 4):
            raise NotTileable(f"its output {list(shape)} is no map")
        x, y = (
            GridAxis(self._axis(whole, axis, size[axis]), size[axis], shape[-1 - axis])
            for axis in (0, 1)
        )
        return OutputGrid(x, y)

    def field(self, axis: int) -> Axis | None:
        """The field along an axis, as longer and longer inputs show it; None if it is not known."""
        if axis not in self._axes:
            self._axes[axis] = bounded_axis(self._model, self._channels, axis)
        return self._axes[axis]

    def check(self, size: Size, tiles: Sequence[Tile]) -> Parts:
        """Prove that tiles of an image of this size agree with the whole, or try it.

        Raises:
            NotTileable: they do not; the message is the reason alone.
        """
        whole = self._follow(size, (0, 0))
        if isinstance(whole, Untold):
            self._check_operations(size, tiles)
            self._trial.check(size, tiles)
            return "tried"
        self._prove(size, whole, tiles)
        return "proved"

    def _prove(self, size: Size, whole: FollowedOutput, tiles: Sequence[Tile]) -> None:
        for tile in tiles:
            x0, y0, x1, y1 = tile.inputs
            of_part = (x1 - x0, y1 - y0)
            if of_part == size or self._proved_elsewhere(size, whole, tile):
                continue
            part = self._follow(of_part, (x0, y0))
            if isinstance(part, Untold):
                raise NotTileable(f"a part of the image cannot be followed: {part}")
            if not _alike(whole, part, tile):
                raise NotTileable("its output depends on where in the image a pixel is")
            self._proved[size, of_part].append(((x0, y0), part))

    def _proved_elsewhere(self, size: Size, whole: FollowedOutput, tile: Tile) -> bool:
        """True if a part of this size was proved, and the whole does the same at both places."""
        x0, y0, x1, y1 = tile.inputs
        proved = self._proved[size, (x1 - x0, y1 - y0)]
        if not proved:
            return False
        grid = self._grid(size, whole)
        moved = self._follow(size, (grid.x.field.shift, grid.y.field.shift))
        return not isinstance(moved, Untold) and any(
            _is_moved(whole, moved, part, grid, tile) for part in proved
        )

    def _followed(self, size: Size, start: tuple[int, int]) -> FollowedOutput | Untold:
        try:
            return follow(self._model, self._channels, size, start)[None]
        except Untold as error:
            return error

    def _axis(self, whole: FollowedOutput, axis: int, length: int) -> Axis:
        """The field along an axis: as the image shows it, or longer inputs do."""
        found = field_in(whole, axis, length)
        if isinstance(found, Axis):
            return found
        measured = self.field(axis)
        if measured is None:
            larger = self._follow((2 * length, 2 * length), (0, 0))
            if isinstance(larger, Untold):
                raise NotTileable(f"it cannot be tried on parts of an image: {larger}")
            raise NotTileable("an output pixel depends on the whole image")
        return measured

    def _check_operations(self, size: Size, tiles: Sequence[Tile]) -> None:
        """Check that the model does the same operations on the image and on its parts.

        Raises:
            NotTileable: it does not, or does not run without numbers.
        """
        parts = {(x1 - x0, y1 - y0) for x0, y0, x1, y1 in (tile.inputs for tile in tiles)}
        try:
            whole, *others = (
                operations(self._model, self._channels, each) for each in (size, *parts)
            )
        except Untold as error:
            raise NotTileable(f"what it does to large images is not known: {error}") from None
        if any(other != whole for other in others):
            raise NotTileable("what it does depends on the size of the image")


def _is_moved(
    whole: FollowedOutput,
    moved: FollowedOutput,
    proved: ProvedPart,
    grid: OutputGrid,
    tile: Tile,
) -> bool:
    """True if a tile is a part that was proved elsewhere, moved by whole periods.

    The part does not depend on where it lies, so what was followed there holds here, moved. The
    whole is followed once more over an image that begins one period later: an output pixel named
    there as its neighbour one period on is named here is the same function of pixels one period
    on.

    Args:
        whole: the pass over the image.
        moved: the same over an image that begins one period later.
        proved: the part, whose size is that of the tile's inputs.
        grid: the output grid of the image.
        tile: the tile.
    """
    start, part = proved
    back = list[int]()
    for axis, along in enumerate((grid.x, grid.y)):
        period = len(along.field.first)
        periods, rest = divmod(tile.inputs[axis] - start[axis], along.field.shift)
        step = periods * period
        low, high = tile.outputs[axis], tile.outputs[axis + 2]
        path = (min(low, low - step), max(high, high - step))
        back.append(step)
        if rest or path[0] < 0 or path[1] > along.outputs:
            return False
        if not _moves(whole, moved, axis, path, period):
            return False
    left, top, right, bottom = tile.outputs
    outputs = (left - back[0], top - back[1], right - back[0], bottom - back[1])
    return _alike(whole, part, replace(tile, outputs=outputs))


def _alike(whole: FollowedOutput, part: FollowedOutput, tile: Tile) -> bool:
    """True if the output pixels of a tile are computed in the same way from part and whole."""
    (outputs, there), (inner, here) = whole, part
    x0, y0, x1, y1 = tile.inner
    if len(inner) != len(outputs) or x1 > inner[-1] or y1 > inner[-2] or min(x0, y0) < 0:
        return False
    return all(
        bool(np.all(_names(one, tile.outputs) == _names(other, tile.inner)))
        for one, other in zip(there.axes, here.axes, strict=True)
    ) and all(
        one.shape[-1 - axis] == size[-1 - axis]
        for (size, reach) in (whole, part)
        for axis, one in enumerate(reach.axes)
    )


def _moves(
    whole: FollowedOutput, moved: FollowedOutput, axis: int, path: Range, period: int
) -> bool:
    """True if the output pixels of a range are the same function of pixels one period on, each.

    Args:
        whole: the pass over the image.
        moved: the same over an image that begins one period later.
        axis: 0 along the width, 1 along the height.
        path: the range.
        period: of output pixels.
    """
    here, there = (each[1].axes[axis].name for each in (whole, moved))
    if here.shape != there.shape or here.shape[-2 + axis] != 1:
        return False
    if here.shape[-1 - axis] != whole[0][-1 - axis]:
        return False
    places = np.arange(path[0], path[1] - period)
    return bool(np.all(here.take(places + period, -1 - axis) == there.take(places, -1 - axis)))


def _names(extents: Extents, box: Box) -> Names:
    """The names of the output pixels in a box."""
    x0, y0, x1, y1 = box
    names = extents.name
    names = names[..., x0:x1] if names.shape[-1] > 1 else names
    return names[..., y0:y1, :] if names.shape[-2] > 1 else names
