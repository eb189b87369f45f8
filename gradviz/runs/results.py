"""The lines of results.jsonl: reading them back, and making them for failures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gradviz.errors import GradvizError, UsageError
from gradviz.files import disk, open_regular
from gradviz.runs.schema import Failed, FailureReason, ResultLine, damage, parse_line
from gradviz.text import one_line


@dataclass(frozen=True)
class Failure:
    """The reason why an image and a seed have no result."""

    image: str
    seed: str | None
    """The spec of the seed; None if the failure is independent of the seed."""
    error: GradvizError


def failure_line(failure: Failure) -> Failed:
    """Make the line of an image, or of one of its seeds, that failed."""
    reason = FailureReason(type=type(failure.error).__name__, message=one_line(failure.error))
    return Failed(image=failure.image, seed=failure.seed, status="error", error=reason)


def read_lines(path: Path, named: Path | None = None) -> Iterator[ResultLine]:
    """Read a file of results. A last line that a crash cut short is left out.

    Args:
        path: the file.
        named: its name in messages, if that is another.

    Raises:
        UsageError: another line is damaged, or the disk refuses.
    """
    named = named or path
    with disk(named), open_regular(path) as file:
        rows = file.read().decode(errors="replace").splitlines()
    for number, row in enumerate(rows, 1):
        try:
            content = json.loads(row)
        except (ValueError, RecursionError) as error:
            if number == len(rows):
                return
            raise UsageError(_not_a_result(named, number, "no JSON")) from error
        try:
            line = parse_line(content)
        except ValueError as error:
            raise UsageError(_not_a_result(named, number, damage(error))) from error
        yield line


def _not_a_result(path: Path, number: int, reason: str) -> str:
    again = "run it again with --overwrite, or choose another -o"
    return f"{path}:{number}: not a result ({reason}); {again}"
