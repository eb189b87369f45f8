"""What tests wait for, within a time."""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST = 60.0
"""The most seconds that a test waits; a busy machine may need them for what is quick elsewhere."""


def wait_until(
    there: Callable[[], object], alive: Callable[[], object] = lambda: True, every: float = 0.005
) -> None:
    """Wait for something that comes soon; fail if it does not.

    Args:
        there: returns a true value once it is there.
        alive: returns a false value if it can't come any more.
        every: the seconds between two looks.
    """
    deadline = time.monotonic() + LONGEST
    while not there():
        assert alive(), "it can't come any more"
        assert time.monotonic() < deadline, f"it is not there after {LONGEST:g} s"
        time.sleep(every)
