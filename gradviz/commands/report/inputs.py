"""Runs and documents, read back: what a report tells of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gradviz.arrays import Array, Bytes
from gradviz.errors import UsageError
from gradviz.files import reading
from gradviz.image.find import Source
from gradviz.runs.folder import BOXES, FIELDS, RESULTS, RUN, Store
from gradviz.runs.reader import read_run
from gradviz.runs.results import Line
from gradviz.runs.schema import DOCUMENT as COMPARED

KEYS = {
    "document of inspect": ("model", "inputs", "outputs", "seed", "layers", "warnings"),
    "layer": ("name", "shape", "stride", "activation", "gradient", "dead"),
    "document of compare": ("ok", "items", "runs", "warnings", "metric", "tolerance"),
    "item": ("image", "seed", "ok", "value", "problems", "measured"),
    "record": ("command", "folder", "versions", "model", "preprocess", "settings"),
    "result": ("files", "output_shape", "score", "stats", "warnings"),
    "field": ("image", "pixel", "status", "lost_at", "box", "area", "local", "effective", "files"),
    "layer of fields": ("name", "channels", "size", "stride", "padding", "halo"),
}
"""What the page tells of, by part: what lacks it is refused before anything is drawn."""


@dataclass(frozen=True)
class Run:
    """The folder of a `saliency` run, or of another."""

    name: str
    """The folder, as it was named."""
    store: Store
    record: Mapping[str, Any]
    """The content of run.json."""
    lines: tuple[Line, ...]
    """The results that are there, in the order of the images."""
    failures: tuple[Line, ...]
    """The lines of those that failed."""

    def array(self, file: str) -> Array:
        """Read one of the run's arrays.

        Raises:
            UsageError: it is not there, or damaged.
        """
        path = self._inside(file)
        with reading(path):
            content: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        if content.dtype.kind not in "biuf":
            raise UsageError(f"{path}: not an array of numbers; run it again")
        return content

    def pixels(self, file: str) -> Bytes:
        """Read one of the run's pictures, RGB [h, w, 3].

        Raises:
            UsageError: it is not there, or damaged.
        """
        path = self._inside(file)
        with reading(path), Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))

    def _inside(self, file: str) -> Path:
        path = self.store.out / file
        if not path.resolve().is_relative_to(self.store.out.resolve()):
            raise UsageError(f"{path}: lies outside the run's folder; it is left out")
        return path

    def source(self, image: str) -> Source | None:
        """The image's file; None for what never was one.

        Raises:
            UsageError: it is gone, or another than it was.
        """
        entry = next((each for each in self.record["images"] if each["name"] == image), None)
        if entry is None or "bytes" not in entry:
            return None
        path = Path(entry["path"])
        with reading(path):
            status = path.stat()
        if (status.st_size, status.st_mtime_ns) != (entry["bytes"], entry["modified"]):
            raise UsageError(f"{path}: has changed since the run; its map is shown alone")
        return Source(path, image)


@dataclass(frozen=True)
class FieldRun(Run):
    """The folder of a `receptive-field` run."""

    document: Mapping[str, Any]
    """The content of field.json."""

    @property
    def has_boxes(self) -> bool:
        """Whether the box of every output pixel was written."""
        return (self.store.out / BOXES).exists()


@dataclass(frozen=True)
class Flow:
    """What `inspect --json` printed."""

    name: str
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """What `compare --json` printed, and the two runs."""

    name: str
    document: Mapping[str, Any]
    runs: tuple[Run, Run]


Told = Run | FieldRun | Flow | Comparison
"""What a report can tell of."""


def read(argument: str) -> Told:
    """Read the folder of a run or a comparison, or what `inspect --json` or `compare --json` said.

    Raises:
        UsageError: it is neither, or damaged.
    """
    path = Path(argument)
    if (path / COMPARED).is_file():
        path = path / COMPARED
    if path.is_dir():
        return _run(path)
    document = _json(path)
    match document.get("kind"):
        case "inspect":
            _need(path, "document of inspect", document)
            _need(path, "layer", *document["layers"])
            return Flow(argument, document)
        case "compare":
            _need(path, "document of compare", document)
            _need(path, "item", *document["items"])
            if len(document["runs"]) != 2:
                raise UsageError(f"{path}: does not name two runs; write it again")
            first, second = (_run(Path(run["path"])) for run in document["runs"])
            return Comparison(argument, document, (first, second))
        case "saliency" | "receptive-field":
            raise UsageError(
                f"{argument}: has the numbers only; name the folder that the run wrote"
            )
        case _:
            raise UsageError(
                f"{argument}: not of gradviz; name a run's folder, or what inspect --json or "
                "compare --json printed"
            )


def _run(path: Path) -> Run:
    found = read_run(path)
    store, record = found.store, found.record
    _need(path / RUN, "record", record)
    lines = store.lines()
    done = tuple(line for line in lines if line["status"] == "ok")
    failed = tuple(line for line in lines if line["status"] == "error")
    if found.kind == "saliency":
        _need(path / RESULTS, "result", *done)
        return Run(str(path), store, record, done, failed)
    document = store.document(FIELDS)
    _need(path / FIELDS, "field", *document["fields"])
    _need(path / FIELDS, "layer of fields", *document["layers"])
    return FieldRun(str(path), store, record, done, failed, document)


def _json(path: Path) -> dict[str, Any]:
    with reading(path):
        text = path.read_text(encoding="utf-8")
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(
            f"{path}: neither a run's folder nor JSON ({error}); name the folder that a run wrote"
        ) from error
    if not isinstance(document, dict):
        raise UsageError(f"{path}: not a document of gradviz; write it again")
    return document


def _need(path: Path, part: str, *whole: object) -> None:
    """See that what is told of is there."""
    for document in whole:
        if not isinstance(document, Mapping):
            raise UsageError(f"{path}: a {part} is damaged; write it again")
        if missing := [key for key in KEYS[part] if key not in document]:
            raise UsageError(f"{path}: a {part} has no {', '.join(missing)}; write it again")
