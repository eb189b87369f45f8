"""Locks on a folder: for one whole run at a time, or for the shards of one side by side.

Ranges of a lock file are locked, since such locks also hold between machines that share a file
system, and end with the process that holds them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradviz.descriptors import kept
from gradviz.errors import UsageError
from gradviz.runs.directory import Directory
from gradviz.runs.names import LOCK
from gradviz.runs.shards import MOST_SHARDS, Shard

try:
    import fcntl
except ImportError:  # neither Linux nor macOS
    fcntl = None  # type: ignore[assignment]

BUSY = {errno.EACCES, errno.EAGAIN}


@contextmanager
def lock_folder(out: Path, shard: Shard | None) -> Iterator[FolderLock]:
    """Lock an existing folder for a run or for one shard of it.

    Args:
        out: the folder.
        shard: the shard; None for a whole run.

    Raises:
        UsageError: another run holds it, or this system has no such locks.
        OSError: the disk refuses.
    """
    if fcntl is None:
        raise UsageError(
            f"{out}: a run locks its folder, and this system has no such locks: use Linux or macOS"
        )
    directory = Directory(out)
    first, length = (1, MOST_SHARDS) if shard is None else (shard.index, 1)
    while True:
        file = directory.open(LOCK, os.O_RDWR | os.O_CREAT)
        try:
            if os.fstat(file).st_size:
                raise UsageError(
                    f"{out / LOCK}: is no lock of a run, which is empty; choose another -o"
                )
            with _exclusive(file):
                free = _lock(file, first, length)
            if not free:
                who = "another run" if shard is None else f"shard {shard.name} or a whole run"
                raise UsageError(
                    f"{out}: {who} is writing there: one run at a time; wait, or choose another -o"
                )
            if not _is_at(file, directory.real / LOCK):
                continue  # the last holder has just removed it
            try:
                with kept(file):
                    yield FolderLock(file)
            finally:
                # Other shards may still hold their ranges, or be about to lock them.
                with _exclusive(file):
                    # A model may have closed the file: then nothing is locked any more.
                    if _is_at(file, directory.real / LOCK) and _lock(file, 1, MOST_SHARDS):
                        directory.remove(LOCK)
                    fcntl.lockf(file, fcntl.LOCK_UN, MOST_SHARDS, 1)
            return
        finally:
            os.close(file)


class FolderLock:
    """The part of a folder that this process holds."""

    def __init__(self, file: int) -> None:
        self._file = file

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other holders from entering, leaving, or changing shared files, for a moment."""
        with _exclusive(self._file):
            yield

    def has_others(self, shard: Shard) -> bool:
        """Return True if another shard is at work; call it within `exclusive` only."""
        ranges = ((1, shard.index - 1), (shard.index + 1, MOST_SHARDS - shard.index))
        for first, length in ranges:
            if length and not _lock(self._file, first, length):
                return True
        for first, length in ranges:
            if length:
                fcntl.lockf(self._file, fcntl.LOCK_UN, length, first)
        return False


@contextmanager
def _exclusive(file: int) -> Iterator[None]:
    fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)
    try:
        yield
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, 0)


def _lock(file: int, first: int, length: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, first)
    except OSError as error:
        if error.errno not in BUSY:
            raise
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False
