"""The verdict on a finished run: its exit code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gradviz import errors
from gradviz.errors import ExitCode, GradvizError, ImageError
from gradviz.runs.schema import Failed, ResultLine


def exit_code(lines: Iterable[ResultLine]) -> ExitCode:
    """Return 0, or the code of the failures.

    The failure of a single image has its cause's own code. Of several images, the failures of some
    give `ExitCode.SOME_FAILED`; a seed or a model that fails on every image that could be read is
    itself wrong, and gives its own code.

    Args:
        lines: the results of the run.
    """
    lines = list(lines)
    # Without --seed, a line has the seed's name only if its image was read.
    default = any(line.seed is None for line in lines)
    alone = len({line.image for line in lines}) == 1
    causes = defaultdict(list)
    for line in lines:
        cause = _cause(line)
        if alone or cause is not ImageError:
            causes[None if default else line.seed].append(cause)
    codes = {
        cause.exit_code
        for group in causes.values()
        for cause in set(group)
        if cause is not None and None not in group
    }
    if any(isinstance(line, Failed) for line in lines):
        codes.add(ExitCode.SOME_FAILED)
    return ExitCode.winner(codes)


def _cause(line: ResultLine) -> type[GradvizError] | None:
    if not isinstance(line, Failed):
        return None
    cause: type[GradvizError] = getattr(errors, line.error.type)
    return cause
