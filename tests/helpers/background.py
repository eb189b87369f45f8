"""Threads that serve the page of `gradviz explore`."""

from __future__ import annotations

import threading


def join_workers() -> None:
    """Wait for the passes that closed pages leave behind: they disturb other tests.

    A pass puts back the working folder that it began in, and files that were closed.
    """
    for thread in threading.enumerate():
        if thread.name == "gradviz-explore":
            thread.join(60)
