"""Arrays become text that a page can hold: in cells, in 16-bit steps, compressed.

A page cannot hold every float of every result. Its numbers are multiples of one step for each
array, and where there are too many pixels, means over square cells of them.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from PIL import Image

from gradviz.arrays import Array, Bytes, Doubles, Floats, Mask, Numbers
from gradviz.commands.report.inputs import source_of
from gradviz.errors import UsageError
from gradviz.heatmap.views import VIEWS, View, scale_of
from gradviz.image.preprocess import preprocess_from
from gradviz.runs.names import RUN
from gradviz.runs.reader import FinishedRun

BUDGET = 64 * 2**20
"""How many characters of arrays and pictures a page may hold."""

SIDES = (1024, 768, 512, 384, 256, 192, 128, 96, 64, 48, 32)
"""How many cells the longer side of a picture may have; the most that the budget allows."""

LEVELS = 32767
"""How many steps lie between zero and the largest magnitude of an array."""

STRIP = 64
"""How many rows of cells are computed at once."""

BROKEN = -32768
"""What stands for NaN and Inf."""

CHARACTERS = 8 / 3
"""Of base64, for each 16-bit number; compression only makes it less."""

PICTURE_CHARACTERS = 0.7
"""Of base64, for each pixel of a JPEG, about."""


@dataclass(frozen=True)
class Packed:
    """An array as it stands in the page."""

    shape: tuple[int, int, int]
    """Planes, rows and columns of cells."""
    step: float
    """Numbers are whole multiples of it."""
    data: str
    """Base64 of the zlib stream of int16 numbers: all upper bytes, then all lower ones, since
    alike bytes beside each other take less room."""

    @property
    def error(self) -> float:
        """How far a number of the page is from that of the array (or its mean over a cell), at
        most."""
        return self.step / 2


MapSize = tuple[tuple[int, int, int], tuple[int, int]]
"""The shape of an array [C, h, w], and the height and width of the picture that goes with it."""


def side_for(sizes: Sequence[MapSize]) -> int:
    """The largest of `SIDES` at which maps and pictures of these sizes fit into a page.

    Raises:
        UsageError: none is small enough.
    """
    for side in SIDES:
        numbers = sum(_numbers(shape, side) for shape, _ in sizes)
        pixels = sum(_cells(size, side) for _, size in sizes)
        needed = CHARACTERS * numbers + PICTURE_CHARACTERS * pixels
        if needed <= BUDGET:
            return side
    raise UsageError(
        f"a page of {len(sizes)} maps would have {needed / 2**20:.0f} MB even at {SIDES[-1]} "
        f"cells a side, more than the {BUDGET / 2**20:.0f} MB that a browser opens with ease; "
        "report fewer runs, or runs of fewer images or seeds"
    )


def _numbers(shape: Sequence[int], side: int) -> int:
    channels, *size = shape
    planes = channels if kept_whole(channels, block_for(size, side)) else 2
    return planes * _cells(size, side)


def _cells(size: Sequence[int], side: int) -> int:
    block = block_for(size, side) or 1
    return ceil(size[0] / block) * ceil(size[1] / block)


def block_for(size: Sequence[int], side: int) -> int:
    """The side in pixels of the cells of a map of this height and width."""
    return ceil(max(size) / side)


def kept_whole(channels: int, block: int) -> bool:
    """Whether all channels are kept; else Σ|g| and Σg are, whose means over cells have meaning."""
    return block == 1 and channels in (1, 3)


def kept_planes(g: Floats, block: int) -> Doubles:
    """What is kept of a gradient [C, h, w]: its channels, or Σ|g| and Σg in cells."""
    if kept_whole(len(g), block):
        return g.astype(np.float64)
    return np.stack([quantity_in_cells(VIEWS[view], g, block) for view in ("heatmap", "signed")])


def in_cells(planes: Numbers | Mask, block: int) -> Doubles:
    """The means [..., ⌈h / block⌉, ⌈w / block⌉] over cells; those at the edge may be smaller."""
    if block == 1:
        return planes.astype(np.float64)
    rows, columns = (np.arange(0, length, block) for length in planes.shape[-2:])
    with np.errstate(invalid="ignore"):  # Inf - Inf is NaN, and shown as such
        sums = np.add.reduceat(planes.astype(np.float64), rows, axis=-2)
        sums = np.add.reduceat(sums, columns, axis=-1)
    height, width = planes.shape[-2:]
    counts = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    means: Doubles = sums / counts
    return means


def quantity_in_cells(view: View, g: Floats, block: int) -> Doubles:
    """What a view draws of a gradient [C, h, w], as means over cells.

    A huge gradient is read in strips.
    """
    strips = range(0, g.shape[1], STRIP * block)
    parts = [in_cells(view.quantity(g[:, top : top + STRIP * block]), block) for top in strips]
    return np.concatenate(parts, axis=-2)


def scales_of(g: Floats, block: int, clip: float) -> dict[str, float]:
    """For each view the `clip` percentile of what it draws, in cells."""
    return {name: scale_of(quantity_in_cells(view, g, block), clip) for name, view in VIEWS.items()}


def pack(planes: Numbers) -> Packed:
    """Quantise planes [n, h, w] to int16."""
    planes = planes.astype(np.float64)  # the step of small float32 numbers would be none
    finite = np.isfinite(planes)
    peak = float(np.abs(planes[finite]).max(initial=0.0))
    step = peak / LEVELS
    levels = np.full(planes.shape, BROKEN, "<i2")
    levels[finite] = np.round(planes[finite] / step) if step > 0 else 0
    halves = levels.view(np.uint8).reshape(-1, 2)
    data = np.concatenate([halves[:, 1], halves[:, 0]])
    count, height, width = planes.shape
    return Packed((count, height, width), step, compressed(data))


def compressed(array: Array) -> str:
    """Base64 of the zlib stream of an array's bytes."""
    return base64.b64encode(zlib.compress(array.tobytes(), 6)).decode()


def packed_mask(mask: Mask, block: int) -> str:
    """A mask [h, w] as bits, row by row without a gap; a cell is true where any of it is."""
    return compressed(np.packbits(in_cells(mask, block) > 0))


def packed_picture(shown: Bytes, block: int) -> str:
    """An RGB picture [h, w, 3] as a JPEG in a data URI, in cells."""
    file = io.BytesIO()
    Image.fromarray(shown).reduce(block).save(file, "JPEG", quality=90, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


@dataclass(frozen=True)
class Shown:
    """A picture that the page holds."""

    blob: str
    """The id of its text."""
    size: tuple[int, int]
    """Its height and width in pixels, before it was put into cells."""


@dataclass
class Page:
    """What a page gathers while it is made."""

    side: int
    """How many cells the longer side of a picture may have."""
    blobs: dict[str, str] = field(default_factory=dict)
    """Long texts by their id, for scripts to decode when they are looked at."""
    notes: list[str] = field(default_factory=list)
    """What could not be shown, and why."""
    palettes: list[str | None] = field(default_factory=lambda: [None])
    """The colour maps that are used, by name; None for the defaults."""
    _pictures: dict[tuple[str, str], Shown | None] = field(default_factory=dict)

    def keep(self, text: str) -> str:
        """Keep a long text; its id."""
        name = f"blob{len(self.blobs)}"
        self.blobs[name] = text
        return name

    def palette(self, run: FinishedRun) -> int:
        """The number of the palette that a run draws with."""
        name = run.colormap
        if name not in self.palettes:
            self.palettes.append(name)
        return self.palettes.index(name)

    def picture(self, run: FinishedRun, image: str) -> Shown | None:
        """The picture that entered the model; None, and a note, where it cannot be had."""
        key = run.name, image
        if key not in self._pictures:
            pixels = self._read(run, image)
            self._pictures[key] = None if pixels is None else self.keep_picture(pixels)
        return self._pictures[key]

    def keep_picture(self, pixels: Bytes) -> Shown:
        """Keep a picture [h, w, 3]."""
        height, width, _ = pixels.shape
        block = block_for((height, width), self.side)
        return Shown(self.keep(packed_picture(pixels, block)), (height, width))

    def _read(self, run: FinishedRun, image: str) -> Bytes | None:
        try:
            source = source_of(run, image)
            if source is None:
                return None
            recipe = preprocess_from(run.record.preprocess, RUN)

            from gradviz.image.load import load_image  # imports torch, which is slow

            return load_image(source, recipe).prepared.shown
        except UsageError as error:
            self.notes.append(f"{image}: {error}")
            return None
