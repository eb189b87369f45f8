"""What a page gathers while it is made: long texts, pictures, palettes, notes."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradviz.arrays import Bytes
from gradviz.errors import UsageError
from gradviz.image.preprocess import preprocess_from
from gradviz.report.pack import block_for, packed_picture
from gradviz.report.read import Run
from gradviz.run.store import RUN


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

    def palette(self, run: Run) -> int:
        """The number of the palette that a run draws with."""
        name = run.record["settings"].get("colormap")
        if name not in self.palettes:
            self.palettes.append(name)
        return self.palettes.index(name)

    def picture(self, run: Run, image: str) -> Shown | None:
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

    def _read(self, run: Run, image: str) -> Bytes | None:
        try:
            source = run.source(image)
            if source is None:
                return None
            recipe = preprocess_from(run.record["preprocess"], RUN)

            from gradviz.run.images import load  # imports torch, which is slow

            return load(source, recipe).prepared.shown
        except UsageError as error:
            self.notes.append(f"{image}: {error}")
            return None
