"""The inputs of a report: finished runs, and documents that commands printed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gradviz.arrays import Array, Bytes
from gradviz.errors import UsageError
from gradviz.files import reading
from gradviz.image.find import Source
from gradviz.runs.conversion import read_document
from gradviz.runs.names import COMPARED
from gradviz.runs.reader import FieldResults, FinishedRun, SaliencyResults, read_run
from gradviz.runs.record import image_record, is_same_file
from gradviz.runs.schema import CheckDocument, CompareDocument, ImageRecord, InspectDocument, damage


@dataclass(frozen=True)
class InspectedFlow:
    """The document that `inspect --json` printed."""

    name: str
    """The file, as the user named it."""
    document: InspectDocument


@dataclass(frozen=True)
class ComparedRuns:
    """The document that `compare --json` printed, and the runs."""

    name: str
    """The file or folder, as the user named it."""
    document: CompareDocument
    runs: tuple[FinishedRun, ...]
    """The first run, and the later ones."""


@dataclass(frozen=True)
class CheckedGradient:
    """The document that `check --json` printed."""

    name: str
    """The file, as the user named it."""
    document: CheckDocument


ReportInput = SaliencyResults | FieldResults | InspectedFlow | CheckedGradient | ComparedRuns
"""The kinds of input that a report can show."""


def read_input(argument: str) -> ReportInput:
    """Read the folder of a run or a comparison, or a document that a command printed.

    Args:
        argument: the folder, or the file with the output of `inspect --json`, `check --json` or
            `compare --json`.

    Raises:
        UsageError: it is none of these, or damaged.
    """
    path = Path(argument)
    if (path / COMPARED).is_file():
        path = path / COMPARED
    if path.is_dir():
        return read_run(path)
    document = _document(path)
    if isinstance(document, InspectDocument):
        return InspectedFlow(argument, document)
    if isinstance(document, CheckDocument):
        return CheckedGradient(argument, document)
    if any(item.run >= len(document.runs) for item in document.items):
        raise UsageError(f"{path}: a damaged document of compare (items.run); write it again")
    return ComparedRuns(
        argument, document, tuple(read_run(Path(run.path)) for run in document.runs)
    )


def _document(path: Path) -> InspectDocument | CheckDocument | CompareDocument:
    with reading(path):
        text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}: neither a run's folder nor JSON ({error}); name the folder that a run wrote"
        ) from error
    kind = content.get("kind") if isinstance(content, dict) else None
    try:
        match kind:
            case "inspect":
                return read_document(InspectDocument, content, path)
            case "check":
                return read_document(CheckDocument, content, path)
            case "compare":
                return read_document(CompareDocument, content, path)
    except ValueError as error:
        raise UsageError(
            f"{path}: a damaged document of {kind} ({damage(error)}); write it again"
        ) from error
    if kind in ("saliency", "receptive-field"):
        raise UsageError(f"{path}: has the numbers only; name the folder that the run wrote")
    raise UsageError(
        f"{path}: not of gradviz; name a run's folder, or what inspect, check or compare --json "
        "printed"
    )


def array_in(run: FinishedRun, file: str) -> Array:
    """Open one of a run's arrays; its values are read when they are used.

    Raises:
        UsageError: it is missing, damaged, or outside the folder.
    """
    _stay_inside(run, file)
    array = run.folder.array(file, mapped=True)
    if not array.size:
        raise UsageError(f"{run.folder.out / file}: has no values; run it again")
    return array


def pixels_in(run: FinishedRun, file: str) -> Bytes:
    """Read one of a run's pictures, RGB [h, w, 3].

    Raises:
        UsageError: it is missing, damaged, or outside the folder.
    """
    _stay_inside(run, file)
    path = run.folder.out / file
    with reading(path), Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _stay_inside(run: FinishedRun, file: str) -> None:
    """Refuse links that lead out of the run's folder: a page is shown to others."""
    path = run.folder.out / file
    if not _is_inside(run, path):
        raise UsageError(f"{path}: lies outside the run's folder; it is left out")


def _is_inside(run: FinishedRun, path: Path) -> bool:
    with reading(path):
        return path.resolve().is_relative_to(run.folder.out.resolve())


@dataclass(frozen=True)
class RecordedImage:
    """The file of an image, as run.json names it."""

    source: Source
    is_inside: bool
    """True if it lies in the folder of the run."""
    entry: ImageRecord

    def check(self) -> None:
        """Check that the file is the one that the run took.

        Raises:
            UsageError: the file is gone, or has changed.
        """
        path = self.source.path
        with reading(path):
            path.stat()
        if not is_same_file(self.entry, image_record(self.source)):
            raise UsageError(f"{path}: has changed since the run; its map is shown alone")


def recorded_image(run: FinishedRun, image: str) -> RecordedImage | None:
    """Find the file of an image; None if the results are not about an image file.

    Args:
        run: the run.
        image: the name of the image.

    Raises:
        UsageError: no file can have its path.
    """
    entry = next((each for each in run.record.images if each.name == image), None)
    if entry is None or entry.size is None:
        return None
    # A folder that is cloned elsewhere has its images below the working folder.
    there = Path(os.path.normpath(Path(run.record.folder or "") / entry.path))
    path = there if os.path.lexists(there) else Path(entry.path)
    return RecordedImage(Source(path, image), _is_inside(run, path), entry)
