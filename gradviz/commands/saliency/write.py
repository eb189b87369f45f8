"""One outcome becomes files in the run's folder and a line of results.jsonl."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gradviz.arrays import Bytes
from gradviz.backward.methods import METHODS
from gradviz.commands.saliency.pointing import energy_inside
from gradviz.commands.saliency.result import Attribution, Outcome
from gradviz.commands.saliency.settings import Settings
from gradviz.errors import UsageError
from gradviz.heatmap.colours import Palette
from gradviz.heatmap.views import VIEWS, draw
from gradviz.image.find import Source
from gradviz.image.load import load_image, load_photo
from gradviz.image.preprocess import Preprocess
from gradviz.runs.folder import Store, write_npy
from gradviz.runs.results import Failure, Line, failure_line

PNG: dict[str, Any] = {"format": "PNG", "compress_level": 1, "compress_type": zlib.Z_RLE}
"""Runs and Huffman codes alone: the default takes two to five times as long, for as many bytes on
maps that look like noise, as gradients do, and a tenth fewer on others."""


def seed_folders(specs: Sequence[str]) -> dict[str, str]:
    """The folder name of each spec; specs that would share one get a piece of their hash."""
    plain = {spec: re.sub(r"[^A-Za-z0-9._-]", "-", spec) for spec in specs}
    users = Counter(plain.values())
    return {
        spec: name
        if users[name] == 1
        else f"{name}-{hashlib.sha256(spec.encode(errors='surrogatepass')).hexdigest()[:8]}"
        for spec, name in plain.items()
    }


@dataclass(frozen=True)
class Recorder:
    """Writes what a run's settings ask for."""

    store: Store
    settings: Settings
    preprocess: Preprocess
    palette: Palette
    folders: Mapping[str, str]
    """The folder of each seed; that of a default seed is found when it comes."""
    sources: Mapping[str, Source]
    """The images by name."""
    masks: Mapping[str, Path] = field(default_factory=dict)
    """The mask of each image by its name, where the energy inside is measured."""

    def line(self, outcome: Outcome) -> Line:
        """Write the outcome's files; pictures wait where their scale is shared."""
        if isinstance(outcome, Failure):
            return failure_line(outcome)
        try:
            inside = self._inside(outcome)
            backdrop = None if self.settings.scale == "shared" else self._backdrop(outcome)
        except UsageError as error:
            return failure_line(Failure(outcome.image, outcome.seed, error))
        files = {}
        if self.settings.array == "npy":
            for name, array in {outcome.method.writes: outcome.array, **outcome.beside}.items():
                files[name] = self._place(outcome, f"{name}.npy")
                self.store.save(files[name], partial(write_npy, array))
        line = {
            "image": outcome.image,
            "seed": outcome.seed,
            "status": "ok",
            "files": files,
            "output_shape": outcome.output_shape,
            "score": outcome.score,
            **{name: value for name, value in _measured(outcome).items() if value is not None},
            "stats": {**outcome.stats, **inside},
            "scales": self._scales(outcome),
            "warnings": outcome.warnings,
        }
        return line if backdrop is None else self._with_pictures(outcome, line, backdrop)

    def rescaled(self, line: Line) -> Line:
        """The line with the scales of its own array, where it may have had shared ones."""
        return {**line, "scales": self._scales(self.result(line))}

    def redrawn(self, line: Line) -> Line:
        """Draw the pictures of a line whose array lies in the folder, with the line's scales."""
        result = self.result(line)
        return self._with_pictures(result, line, self._backdrop(result))

    def result(self, line: Line) -> Attribution:
        """Read back what a line tells of; its array lies in the folder."""
        method = METHODS[self.settings.method]
        image = load_image(self.sources[line["image"]], self.preprocess)
        return Attribution(
            image=line["image"],
            seed=line["seed"],
            method=method,
            array=self.store.array(line["files"][method.writes]),
            output_shape=tuple(line["output_shape"]),
            score=line["score"],
            prepared=image.prepared,
        )

    def _backdrop(self, result: Attribution) -> Bytes:
        if self.settings.frame == "image":
            return load_photo(self.sources[result.image], self.preprocess)
        return result.prepared.shown

    def _with_pictures(self, result: Attribution, line: Line, backdrop: Bytes) -> Line:
        in_image = self.settings.frame == "image"
        files = {}
        for view in self.settings.views:
            picture = draw(
                result.colour_array,
                VIEWS[view],
                line["scales"][view],
                self.palette,
                backdrop,
                result.prepared.frame if in_image else None,
            )
            files[view] = self._place(result, f"{view}.png")
            self.store.save(files[view], partial(picture.save, **PNG))
        return {
            **line,
            "files": {**line["files"], **files},
            "stats": {**line["stats"], "scale": line["scales"]["heatmap"]},
        }

    def _inside(self, outcome: Attribution) -> dict[str, float]:
        if outcome.image not in self.masks:
            return {}
        mask = self.masks[outcome.image]
        return {"inside": energy_inside(outcome.array, outcome.prepared.frame, mask)}

    def _scales(self, result: Attribution) -> dict[str, float]:
        scale = self.settings.scale
        return {
            view: scale if isinstance(scale, float) else result.scale(view, self.settings.clip)
            for view in dict.fromkeys(("heatmap", *self.settings.views))
        }

    def _place(self, result: Attribution, name: str) -> str:
        folder = self.folders.get(result.seed) or seed_folders([result.seed])[result.seed]
        return f"{result.image}/{folder}/{name}"


def _measured(outcome: Attribution) -> Line:
    """What only some methods have."""
    return {
        "layer": outcome.layer,
        "gated": outcome.gated,
        "samples": outcome.samples,
        "completeness": outcome.completeness,
        "tiles": outcome.tiles,
        "parts": outcome.parts,
    }
