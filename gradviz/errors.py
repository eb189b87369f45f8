"""The errors that gradviz raises, and the exit code of each.

The core raises these and nothing else on purpose. Only the command line turns them into an exit
code; any other exception is a bug in gradviz (exit code 1).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit codes in the order of precedence: if several codes apply, the first wins."""

    BUG = 1
    """An exception that is not a `GradvizError`."""
    INTERRUPTED = 130
    """SIGINT or SIGTERM."""
    REFUSED = 5
    """Loading would run code, and `--trust` was not given."""
    MODEL = 3
    """The model cannot be loaded or run."""
    USAGE = 2
    """The command, a config file, a seed or the output folder is wrong."""
    SOME_FAILED = 4
    """Some images of several failed, and the others are done."""
    NOT_HELD = 6
    """An expectation, a comparison or a check did not hold."""
    DONE = 0
    """All is done."""

    @classmethod
    def winner(cls, codes: Collection[int]) -> ExitCode:
        """Return the code that wins if these apply; `DONE` if there are none."""
        return next((code for code in cls if code in codes), cls.DONE)


class GradvizError(Exception):
    """A failure that the user can understand. The message is one line: what, where, what to do."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG


class UsageError(GradvizError):
    """The command, a config file or the output folder is wrong."""

    exit_code = ExitCode.USAGE


class OptionsMissing(UsageError):
    """Options are missing from the command, and it is known which."""

    def __init__(self, problem: str, options: Sequence[str]) -> None:
        self.problem = problem
        """The message, without what to do."""
        self.options = tuple(options)
        """The options and their values."""
        super().__init__(f"{problem}: add {shlex.join(options)}")

    def with_command(self, words: Sequence[str]) -> str:
        """Phrase the message with the whole command.

        Args:
            words: the words of the command that failed, after the program's name.
        """
        return f"{self.problem}: run {shlex.join(['gradviz', *words, *self.options])}"


class SeedError(UsageError):
    """A seed cannot be read, or does not fit the output that it is meant for."""


class LayerError(UsageError):
    """A layer cannot be read in the requested way at an image."""


class DetectionsError(UsageError):
    """The output holds the detections of a detector, and was to be read as one tensor."""

    def __init__(self, message: str, scores: str) -> None:
        self.scores = scores
        """The dotted path of the scores in the output; empty if it is one tensor."""
        super().__init__(message)


class ImageError(UsageError):
    """An image cannot be read."""


class ModelError(GradvizError):
    """The model cannot be loaded or run, or its output cannot be differentiated."""

    exit_code = ExitCode.MODEL


class MemoryShort(ModelError):
    """The device has too little memory for the images of one pass."""


class TrustError(GradvizError):
    """Loading would run code, and `--trust` was not given."""

    exit_code = ExitCode.REFUSED
