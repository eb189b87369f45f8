"""What Python finds when a user's own code is imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Put `folder` first on the import path, and restore the path afterwards."""
    before = sys.path[:]
    sys.path.insert(0, str(folder))
    # A file may be newer than what Python remembers of its folder.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
