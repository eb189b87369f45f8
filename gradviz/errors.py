"""What can go wrong, and the exit code that a shell script sees for it.

The core raises these and nothing else on purpose. Only the command line turns them into an exit
code; any other exception is a bug in gradviz (exit code 1).
"""

from __future__ import annotations

from typing import ClassVar


class GradvizError(Exception):
    """A failure that the user can understand. The message is one line: what, where, what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(GradvizError):
    """The command, a config file or the output folder is wrong."""

    exit_code = 2


class SeedError(UsageError):
    """A seed cannot be read, or does not fit the output that it is meant for."""


class LayerError(UsageError):
    """A layer does not do, at an image, for what is to be read there."""


class ImageError(UsageError):
    """An image cannot be read."""


class ModelError(GradvizError):
    """The model cannot be loaded or run, or its output cannot be differentiated."""

    exit_code = 3


class MemoryShort(ModelError):
    """The device has too little memory for the images that were given to it at once."""


class TrustError(GradvizError):
    """Loading would run code, and `--trust` was not given."""

    exit_code = 5


SOME_FAILED = 4
"""The exit code where some images of several failed and the rest is done."""
NOT_HELD = 6
"""The exit code where an expectation, a comparison or a check did not hold."""
INTERRUPTED = 130
"""The exit code after SIGINT or SIGTERM."""
PRECEDENCE = (1, 130, 5, 3, 2, 4, 6)
"""Which exit code wins where several apply: the first in this order."""
