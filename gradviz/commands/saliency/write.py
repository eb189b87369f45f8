"""Writing an outcome: files in the run's folder, and a line of results.jsonl."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from PIL import Image

from gradviz.arrays import Bytes, Floats
from gradviz.backward.methods import METHODS
from gradviz.commands.saliency.answered import Answered
from gradviz.commands.saliency.pointing import OWN_BOX, energy_in_box, energy_inside
from gradviz.commands.saliency.result import Attribution, Outcome
from gradviz.commands.saliency.settings import Settings
from gradviz.errors import MemoryShort, UsageError
from gradviz.files import reading
from gradviz.heatmap.colours import Palette, load_palette
from gradviz.heatmap.draw import draw
from gradviz.heatmap.marks import draw_marks
from gradviz.heatmap.output import with_legend
from gradviz.heatmap.views import OUTPUT, VIEWS
from gradviz.image.find import Source
from gradviz.image.frame import Frame
from gradviz.image.load import load_image, load_photo
from gradviz.image.other_input import OtherInput
from gradviz.image.preprocess import Preprocess
from gradviz.runs.folder import RunFolder
from gradviz.runs.names import seed_folders
from gradviz.runs.record import check_same
from gradviz.runs.results import Failure, failure_line
from gradviz.runs.schema import Done, Failed, ImageRecord, OutputEntry, Stats
from gradviz.stored_arrays import WRITERS

PNG: dict[str, Any] = {"format": "PNG", "compress_level": 1, "compress_type": zlib.Z_RLE}
"""Run lengths and Huffman codes alone: the default takes two to five times as long, for as many
bytes on maps that look like noise, as gradients do, and for a tenth fewer on others."""

OUTPUT_ARRAY = f"{OUTPUT}.npy"
"""The key of the output's array among the files of a line: the view has the plain name."""

MEASURED = (
    *(
        "loss",
        "layer",
        "layer_reason",
        "gated",
        "samples",
        "completeness",
        "absorbed",
        "conservation",
    ),
    *("tiles", "parts"),
)
"""The keys of a line that only some results have."""


@dataclass(frozen=True)
class ResultWriter:
    """A writer of the files that a run's settings name."""

    folder: RunFolder
    settings: Settings
    preprocess: Preprocess
    sources: Mapping[str, Source]
    """The images by name."""
    masks: Mapping[str, Source]
    """The mask of each image by its name, if the energy inside is measured."""
    over: OtherInput | None = None
    """The input over which everything is drawn in place of the images, if it is another."""
    targets: Mapping[str, Sequence[Source]] = field(default_factory=dict)
    """The files that the seeds read for each image by its name."""
    recorded: dict[Source, ImageRecord] = field(default_factory=dict)
    """The images, and what is drawn over or measured in besides, as they were when the run began:
    none may be replaced while it runs."""

    @cached_property
    def palette(self) -> Palette:
        """The colours of the pictures."""
        return load_palette(self.settings.colormap)

    @cached_property
    def seed_folders(self) -> dict[str, str]:
        """The folder of each seed; that of a default seed is added when it occurs."""
        return seed_folders(self.settings.seeds)

    @property
    def drawn_over(self) -> list[Source]:
        """The file over which everything is drawn in place of the images, if there is one."""
        return [] if self.over is None else [self.over.source]

    def line(self, outcome: Outcome) -> Done | Failed:
        """Write the outcome's files; pictures with a shared scale are drawn later."""
        if isinstance(outcome, Failure):
            return failure_line(outcome)
        try:
            return self._line(outcome)
        except MemoryError:
            error = MemoryShort(f"{outcome.image}: too little memory to draw it; use --resize")
            return failure_line(Failure(outcome.image, outcome.seed, error))

    def _line(self, outcome: Attribution) -> Done | Failed:
        try:
            inside = self._inside(outcome)
            scaled_later = self.settings.scale == "shared"
            unseen = scaled_later and OUTPUT not in self.settings.views
            shown = outcome.prepared.shown if unseen else self.backdrop(outcome)
            self._check_same(outcome.image)
        except UsageError as error:
            return failure_line(Failure(outcome.image, outcome.seed, error))
        files = {}
        if self.settings.keeps_arrays:
            _, write = WRITERS[self.settings.array]
            for name, array in self._arrays(outcome).items():
                key = name if name != OUTPUT else OUTPUT_ARRAY
                file = self.settings.array_file(name)
                files[key] = self.place(outcome.image, outcome.seed, file)
                self.folder.save(files[key], partial(write, array))
        line = Done(
            image=outcome.image,
            seed=outcome.seed,
            status="ok",
            files=files,
            output_shape=list(outcome.output_shape),
            score=outcome.score,
            **_taken(outcome),
            **{name: value for name in MEASURED if (value := getattr(outcome, name)) is not None},
            stats=Stats.model_validate({**outcome.stats, **inside}),
            scales=self._scales(outcome),
            warnings=list(outcome.warnings),
        )
        if outcome.answered is not None:
            line = self._with_output(outcome, line, outcome.answered, shown)
        return line if scaled_later else self._with_pictures(outcome, line, shown)

    def _arrays(self, outcome: Attribution) -> dict[str, Floats]:
        """Collect the arrays to keep, by name."""
        arrays = {outcome.method.writes: outcome.array, **outcome.beside}
        if self.settings.array == "all" and outcome.answered is not None:
            arrays[OUTPUT] = outcome.answered.array
        return arrays

    def _with_output(
        self, outcome: Attribution, line: Done, answered: Answered, backdrop: Bytes
    ) -> Done:
        """Draw the output, if that is one of the views, and describe it."""
        files, size = dict(line.files), None
        if OUTPUT in self.settings.views:
            frame = self.frame(outcome)
            picture = answered.picture(backdrop, outcome.prepared.frame.input, frame)
            files[OUTPUT] = self.place(outcome.image, outcome.seed, f"{OUTPUT}.png")
            size = [picture.width, picture.height]
            drawn = with_legend(picture, answered.legend)
            self.folder.save(files[OUTPUT], partial(drawn.save, **PNG))
        entry = OutputEntry(
            shows=answered.shows,
            channel=answered.channel,
            low=answered.legend.low,
            high=answered.legend.high,
            lines=list(answered.legend.lines),
            colours=["#" + bytes(colour).hex() for colour in answered.legend.colours],
            size=size,
        )
        return line.model_copy(update={"files": files, OUTPUT: entry})

    def rescaled(self, line: Done) -> Done:
        """Return the line with the scales of its own array, if it may have had shared ones."""
        views = self.settings.gradient_views
        if views and not {*views} & line.files.keys():
            return line  # it was not drawn yet
        return line.model_copy(update={"scales": self._scales(self.result(line))})

    def redrawn(self, line: Done) -> Done:
        """Draw the pictures of a line whose array lies in the folder, with the line's scales.

        Raises:
            ImageError: the image cannot be read any more, or was replaced.
        """
        result = self.result(line)
        backdrop = self.backdrop(result)
        self._check_same(line.image)
        return self._with_pictures(result, line, backdrop)

    def result(self, line: Done) -> Attribution:
        """Read back the result of a line whose array lies in the folder.

        Raises:
            ImageError: the image cannot be read any more, or was replaced.
        """
        method = METHODS[self.settings.method]
        if self.over is None:
            prepared = load_image(self.sources[line.image], self.preprocess).prepared
        else:
            prepared = self.over.prepared
        self._check_same(line.image)
        return Attribution(
            image=line.image,
            seed=line.seed,
            method=method,
            array=self.folder.array(line.files[method.writes]),
            output_shape=tuple(line.output_shape),
            score=line.score if line.score is not None else math.nan,
            prepared=prepared,
            marks=tuple(entry.mark for entry in line.marks),
        )

    def _check_same(self, name: str) -> None:
        """Refuse an image that was replaced: what was read before would be drawn over it."""
        again = "run it again with --resume, which computes it anew"
        source = self.sources[name]
        check_same(source, self.recorded.get(source), again)
        for other in (*self.drawn_over, *self.targets.get(name, ())):
            check_same(other, self.recorded.get(other))

    def backdrop(self, result: Attribution) -> Bytes:
        """Read the picture [H, W, 3] that a result is drawn over."""
        if self.settings.frame == "image":
            (source,) = self.drawn_over or [self.sources[result.image]]
            return load_photo(source, self.preprocess)
        return result.prepared.shown

    def output_picture(self, line: Done) -> Bytes | None:
        """Read the picture of the output [H, W, 3] back, without its legend; None if there is none.

        Raises:
            UsageError: it is missing or damaged.
        """
        if OUTPUT not in line.files or line.output is None or line.output.size is None:
            return None
        width, height = line.output.size
        path = self.folder.path / line.files[OUTPUT]
        with reading(path), Image.open(path) as picture:
            return np.asarray(picture.convert("RGB").crop((0, 0, width, height)))

    def picture(self, result: Attribution, view: str, scale: float, backdrop: Bytes) -> Image.Image:
        """Draw a view of a result, in the pixels of the run's frame.

        Args:
            result: the result.
            view: the name of the view.
            scale: the value that gets the strongest colour.
            backdrop: the picture of `backdrop`.
        """
        shown, frame = VIEWS[view], self.frame(result)
        picture = draw(result.colour_array, shown, scale, self.palette, backdrop, frame)
        if shown.marked:
            draw_marks(picture, result.marks, frame)
        return picture

    def frame(self, result: Attribution) -> Frame | None:
        """Return the map to the image file's pixels if pictures are drawn in them."""
        return result.prepared.frame if self.settings.frame == "image" else None

    def _with_pictures(self, result: Attribution, line: Done, backdrop: Bytes) -> Done:
        files = {}
        for view in self.settings.gradient_views:
            picture = self.picture(result, view, line.scales[view], backdrop)
            files[view] = self.place(result.image, result.seed, f"{view}.png")
            self.folder.save(files[view], partial(picture.save, **PNG))
        stats = line.stats.model_copy(update={"scale": line.scales["heatmap"]})
        return line.model_copy(update={"files": {**line.files, **files}, "stats": stats})

    def _inside(self, outcome: Attribution) -> dict[str, float]:
        if self.settings.inside == OWN_BOX and outcome.detection is not None:
            size, box = outcome.prepared.frame.input, outcome.detection.box_in_input
            return {"inside": energy_in_box(outcome.array, size, box)}
        if outcome.image not in self.masks:
            return {}
        mask = self.masks[outcome.image]
        share = energy_inside(outcome.array, outcome.prepared.frame, mask.place)
        check_same(mask, self.recorded.get(mask))
        return {"inside": share}

    def _scales(self, result: Attribution) -> dict[str, float]:
        views = dict.fromkeys(("heatmap", *self.settings.gradient_views))
        return {view: self.scale(result, view) for view in views}

    def scale(self, result: Attribution, view: str) -> float:
        """Compute the value that gets a view's strongest colour, unless all images share it."""
        scale = self.settings.scale
        return scale if isinstance(scale, float) else result.scale(view, self.settings.clip)

    def place(self, image: str, seed: str, name: str) -> str:
        """Return the path of a result's file below the folder of the run."""
        folder = self.seed_folders.get(seed) or seed_folders([seed])[seed]
        return f"{image}/{folder}/{name}"


def _taken(outcome: Attribution) -> dict[str, Any]:
    """Return the entries of a line for what its seed took: a class, a detection, places."""
    taken = {"class": outcome.answer, "detection": outcome.detection}
    found: dict[str, Any] = {k: asdict(each) for k, each in taken.items() if each is not None}
    if outcome.marks:
        found["marks"] = [asdict(mark) for mark in outcome.marks]
    return found
