"""A finished run read back from its folder: its record and its results, but none of its arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from gradviz.errors import UsageError
from gradviz.runs import schema
from gradviz.runs.conversion import read_document
from gradviz.runs.folder import RunFolder
from gradviz.runs.names import BOXES, FIELDS, RESULTS, RUN


@dataclass(frozen=True)
class FinishedRun:
    """A finished run of any kind that has results."""

    name: str
    """The folder, as the user named it."""
    folder: RunFolder
    record: schema.RunRecord
    done: tuple[schema.FieldDone, ...]
    """The successful results, in the order of the images."""
    failures: tuple[schema.Failed, ...]
    """The lines of failed results."""

    @property
    def colormap(self) -> str | None:
        """The colour map that its pictures have; None for the defaults."""
        name = self.record.settings.get("colormap")
        return name if isinstance(name, str) else None

    @cached_property
    def by_key(self) -> dict[tuple[str, str | None], schema.ResultLine]:
        """All lines, by image and seed."""
        lines: list[schema.ResultLine] = [*self.done, *self.failures]
        return {(line.image, line.seed): line for line in lines}

    def find(self, image: str, seed: str | None) -> schema.ResultLine | None:
        """Find the line of a result.

        Args:
            image: the name of the image.
            seed: the spec of the seed. The line of an image that failed under every seed stands for
                each.

        Returns:
            the line; None if there is none.
        """
        return self.by_key.get((image, seed)) or self.by_key.get((image, None))


@dataclass(frozen=True)
class SaliencyResults(FinishedRun):
    """A finished `saliency` run."""

    done: tuple[schema.Done, ...]


@dataclass(frozen=True)
class FieldResults(FinishedRun):
    """A finished `receptive-field` run."""

    document: schema.FieldDocument
    """The content of field.json."""

    @cached_property
    def entries(self) -> dict[tuple[str, str], schema.FieldEntry]:
        """The fields of the document, by image and seed."""
        fields = self.document.fields
        return {(each.image, "pixel:{},{}".format(*each.pixel)): each for each in fields}

    @property
    def has_boxes(self) -> bool:
        """True if the box of every output pixel was written."""
        return self.folder.has(BOXES)


def read_run(path: Path) -> SaliencyResults | FieldResults:
    """Read a run's record and results.

    Args:
        path: the folder of the run.

    Raises:
        UsageError: the folder holds no run that has results, or one that is not finished or
            damaged.
    """
    wanted = f"name the folder that {' or '.join(get_args(schema.RunKind))} wrote with -o"
    if not (path / RUN).is_file():
        raise UsageError(f"{path}: holds no {RUN}, so it is no run; {wanted}")
    folder = RunFolder(path)
    record = folder.record()
    if not isinstance(record, schema.RunRecord):
        raise UsageError(f"{path}: is a run of {record.kind}; {wanted}")
    if record.kind == "receptive-field" and not folder.has(FIELDS):
        raise UsageError(f"{path}: holds no {FIELDS}, so its run was cut short; run it again")
    lines = folder.lines()
    failures = tuple(line for line in lines if isinstance(line, schema.Failed))
    there = tuple(line for line in lines if not isinstance(line, schema.Failed))
    if record.kind == "receptive-field":
        found = FieldResults(str(path), folder, record, there, failures, _fields(folder))
        if lacking := {(line.image, line.seed) for line in there} - found.entries.keys():
            image, seed = lacking.pop()
            raise UsageError(f"{path / FIELDS}: has no field of {image} ({seed}); run it again")
        return found
    done = tuple(line for line in there if isinstance(line, schema.Done))
    if len(done) < len(there):
        raise UsageError(f"{path}: a result in {RESULTS} has no numbers; run it again")
    return SaliencyResults(str(path), folder, record, done, failures)


def _fields(folder: RunFolder) -> schema.FieldDocument:
    """Read the content of field.json."""
    try:
        return read_document(schema.FieldDocument, folder.json(FIELDS), folder.out / FIELDS)
    except ValueError as error:
        raise UsageError(
            f"{folder.out / FIELDS}: damaged ({schema.damage(error)}); run it again"
        ) from error
