"""Data of a page: arrays as text, in cells, in 16-bit steps, compressed.

A page cannot hold every float of every result. Its numbers are multiples of one step for each
array. If there are too many pixels, they are means over square cells.
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
from gradviz.commands.report.inputs import recorded_image
from gradviz.errors import UsageError
from gradviz.heatmap.clip import Clip
from gradviz.heatmap.draw import scale_of
from gradviz.heatmap.views import VIEWS, View
from gradviz.image.preprocess import preprocess_from
from gradviz.runs.names import RUN
from gradviz.runs.reader import FinishedRun

BUDGET = 64 * 2**20
"""The most characters of arrays and pictures in a page."""

SIDES = (1024, 768, 512, 384, 256, 192, 128, 96, 64, 48, 32)
"""The numbers of cells along the longer side of a picture; the largest within the budget is
used."""

LEVELS = 32767
"""The number of steps between zero and the largest magnitude of an array."""

STRIP = 64
"""The number of rows of cells that are computed at once."""

BROKEN = -32768
"""The number that stands for NaN and Inf."""

CHARACTERS = 8 / 3
"""The base64 characters for each 16-bit number; compression only reduces them."""

PICTURE_CHARACTERS = 0.7
"""The approximate number of base64 characters for each pixel of a JPEG."""


@dataclass(frozen=True)
class Packed:
    """An array as it stands in the page."""

    shape: tuple[int, int, int]
    """The numbers of planes, rows and columns of cells."""
    step: float
    """The step of which all numbers are whole multiples."""
    data: str
    """Base64 of the zlib stream of int16 numbers: all upper bytes, then all lower ones, since equal
    bytes beside each other compress better."""

    @property
    def error(self) -> float:
        """The largest distance of a number of the page from the array's, or from a cell's mean."""
        return self.step / 2


MapSize = tuple[tuple[int, int, int], tuple[int, int]]
"""The shape of an array [C, h, w], and the height and width of the picture that goes with it."""


def side_for(sizes: Sequence[MapSize]) -> int:
    """Find the largest of `SIDES` at which maps and pictures of these sizes fit into a page.

    Args:
        sizes: the sizes of all maps and their pictures.

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
    """Compute the side in pixels of the cells of a map of this height and width."""
    return ceil(max(size) / side)


def kept_whole(channels: int, block: int) -> bool:
    """Return True if all channels are kept; False if Σ|g| and Σg are, as means over cells."""
    return block == 1 and channels in (1, 3)


def kept_planes(g: Floats, block: int) -> Doubles:
    """Select the planes of a gradient that the page keeps, in cells.

    Args:
        g: [C, h, w].
        block: the side of a cell in pixels.

    Returns:
        the channels, or Σ|g| and Σg.
    """
    if kept_whole(len(g), block):
        return g.astype(np.float64)
    return np.stack([quantity_in_cells(VIEWS[view], g, block) for view in ("heatmap", "signed")])


def in_cells(planes: Numbers | Mask, block: int) -> Doubles:
    """Compute the means over cells; cells at the edge may be smaller.

    Args:
        planes: [..., h, w].
        block: the side of a cell in pixels.

    Returns:
        [..., ⌈h / block⌉, ⌈w / block⌉].
    """
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
    """Compute the quantity that a view draws of a gradient [C, h, w], as means over cells.

    A huge gradient is read in strips.
    """
    strips = range(0, g.shape[1], STRIP * block)
    parts = [in_cells(view.quantity(g[:, top : top + STRIP * block]), block) for top in strips]
    return np.concatenate(parts, axis=-2)


def scales_of(g: Floats, block: int, clip: Clip) -> dict[str, float]:
    """Compute for each view the clip of its quantity, in cells.

    Args:
        g: the gradient [C, h, w].
        block: the side of a cell in pixels.
        clip: what gets the strongest colour.
    """
    return {name: scale_of(quantity_in_cells(view, g, block), clip) for name, view in VIEWS.items()}


def pack(planes: Numbers) -> Packed:
    """Quantise planes [n, h, w] to int16."""
    planes = planes.astype(np.float64)  # float32 numbers near zero would have a step of 0
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
    """Write the zlib stream of an array's bytes as base64."""
    return base64.b64encode(zlib.compress(array.tobytes(), 6)).decode()


def packed_mask(mask: Mask, block: int) -> str:
    """Write a mask as bits, row by row; a cell is true if any pixel of it is.

    Args:
        mask: [h, w].
        block: the side of a cell in pixels.

    Returns:
        base64 of the zlib stream.
    """
    return compressed(np.packbits(in_cells(mask, block) > 0))


def packed_picture(shown: Bytes, block: int) -> str:
    """Write an RGB picture [h, w, 3] as a JPEG in a data URI, in cells."""
    file = io.BytesIO()
    Image.fromarray(shown).reduce(block).save(file, "JPEG", quality=90, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


@dataclass(frozen=True)
class Shown:
    """A picture that the page holds."""

    blob: str
    """The id of its text."""
    size: tuple[int, int]
    """The height and width in pixels, before it was put into cells."""


@dataclass
class Page:
    """The data of a page that is being built."""

    side: int
    """The most cells along the longer side of a picture."""
    images: bool = False
    """True to read input images from wherever run.json says; False for the runs' folders alone."""
    outside: set[str] = field(default_factory=set)
    """The paths of the images that are left out because they lie elsewhere."""
    blobs: dict[str, str] = field(default_factory=dict)
    """Long texts by their id, which scripts decode when they are shown."""
    notes: list[str] = field(default_factory=list)
    """Notes on the inputs that could not be shown, with reasons."""
    palettes: list[str | None] = field(default_factory=lambda: [None])
    """The colour maps that are used, by name; None for the defaults."""
    _pictures: dict[tuple[str, str], Shown | None] = field(default_factory=dict)

    def keep(self, text: str) -> str:
        """Store a long text, and return its id."""
        name = f"blob{len(self.blobs)}"
        self.blobs[name] = text
        return name

    def palette(self, run: FinishedRun) -> int:
        """Return the number of the palette of a run."""
        name = run.colormap
        if name not in self.palettes:
            self.palettes.append(name)
        return self.palettes.index(name)

    def picture(self, run: FinishedRun, image: str) -> Shown | None:
        """Store the picture that entered the model; return None if it is left out or missing."""
        key = run.name, image
        if key not in self._pictures:
            pixels = self._read(run, image)
            self._pictures[key] = None if pixels is None else self.keep_picture(pixels)
        return self._pictures[key]

    def keep_picture(self, pixels: Bytes) -> Shown:
        """Store a picture [h, w, 3]."""
        height, width, _ = pixels.shape
        block = block_for((height, width), self.side)
        return Shown(self.keep(packed_picture(pixels, block)), (height, width))

    def _read(self, run: FinishedRun, image: str) -> Bytes | None:
        try:
            found = recorded_image(run, image)
            if found is None or run.record.settings.get("wrt") is not None:  # drawn over another
                return None
            # A page is shown to others, and a stranger's run.json may name any picture of the disk.
            if not (self.images or found.is_inside):
                self.outside.add(found.entry.path)
                return None
            found.check()
            recipe = preprocess_from(run.record.preprocess, RUN)

            from gradviz.image.load import load_image  # imports torch, which is slow

            return load_image(found.source, recipe).prepared.shown
        except UsageError as error:
            self.notes.append(f"{image}: {error}")
            return None
