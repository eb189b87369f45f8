"""One run at a time in a folder: a whole one, or the shards of one side by side.

Ranges of a lock file are what is locked, since they also hold between machines that share a file
system, and go with the process that held them.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gradviz.errors import UsageError

try:
    import fcntl
except ImportError:  # neither Linux nor macOS
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""The file's name; it is gone when nobody is writing."""

BUSY = {errno.EACCES, errno.EAGAIN}


@contextmanager
def turn(out: Path, shard: Shard | None) -> Iterator[Turn]:
    """Hold a folder, which must be there, for a run or for one shard of it.

    Raises:
        UsageError: somebody else holds it, or this system has no such locks.
        OSError: the disk refuses.
    """
    if fcntl is None:
        raise UsageError(
            f"{out}: a run locks its folder, and this system has no such locks: use Linux or macOS"
        )
    first, length = (1, MOST) if shard is None else (shard.index, 1)
    while True:
        file = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with _alone(file):
                free = _lock(file, first, length)
            if not free:
                who = "another run" if shard is None else f"shard {shard.name} or a whole run"
                raise UsageError(
                    f"{out}: {who} is writing there: one run at a time; wait, or choose another -o"
                )
            if not _is_at(file, out / LOCK):
                continue  # whoever held it before has just taken it away
            try:
                yield Turn(file)
            finally:
                # Others may still hold their ranges, or be about to.
                with _alone(file):
                    if _lock(file, 1, MOST):
                        (out / LOCK).unlink(missing_ok=True)
                    fcntl.lockf(file, fcntl.LOCK_UN, MOST, 1)
            return
        finally:
            os.close(file)


class Turn:
    """What is held."""

    def __init__(self, file: int) -> None:
        self._file = file

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For a moment, while others wait who come, go, or change what is common."""
        with _alone(self._file):
            yield

    def others(self, shard: Shard) -> bool:
        """Whether any other shard is at work; only to be asked while alone."""
        ranges = ((1, shard.index - 1), (shard.index + 1, MOST - shard.index))
        for first, length in ranges:
            if length and not _lock(self._file, first, length):
                return True
        for first, length in ranges:
            if length:
                fcntl.lockf(self._file, fcntl.LOCK_UN, length, first)
        return False


@contextmanager
def _alone(file: int) -> Iterator[None]:
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
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


_Batch = TypeVar("_Batch")


MOST = 4096
"""Shards of one run."""


@dataclass(frozen=True)
class Shard:
    """Every `count`-th batch, beginning with the one at `index` (from 1)."""

    index: int
    count: int

    @property
    def name(self) -> str:
        """As it stands in the name of its results file."""
        return f"{self.index}-of-{self.count}"

    def of(self, batches: Sequence[_Batch]) -> Sequence[_Batch]:
        """Its batches. Whole ones, since numbers depend on the batch; together, all of them."""
        return batches[self.index - 1 :: self.count]


def shard_from(text: str) -> Shard:
    """`I/N`, I from 1.

    Raises:
        UsageError: it is no such share.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    shard = Shard(*map(int, found.groups())) if found else Shard(0, 0)
    if not 1 <= shard.index <= shard.count <= MOST:
        raise UsageError(f"--shard {text}: write it as I/N, such as 2/4, N at most {MOST}")
    return shard


def shard_here(text: str | None, environment: Mapping[str, str]) -> Shard | None:
    """This process's share: that of `--shard`, or of its rank under torchrun; None for all.

    Raises:
        UsageError: they contradict each other, or one of them cannot be read.
    """
    rank, world = environment.get("RANK"), environment.get("WORLD_SIZE")
    if rank is None or world is None:
        return None if text is None else shard_from(text)
    if text is not None:
        raise UsageError(f"--shard {text}: torchrun shares the work out already; leave it out")
    try:
        shard = shard_from(f"{int(rank) + 1}/{world}")
    except (ValueError, UsageError):
        raise UsageError(
            f"RANK={rank} WORLD_SIZE={world}: not a rank of torchrun's; unset them"
        ) from None
    return None if shard.count == 1 else shard
