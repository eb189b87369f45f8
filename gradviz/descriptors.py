"""The open files that foreign code must not close: standard streams, a run's lock, and the like.

A model may close every descriptor of the process. The next file that is opened would get the
number of one of ours, and what we write there would go into that file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_kept: dict[int, tuple[os.stat_result, int | None]] = {}


def keep(number: int, spare: int | None = None) -> None:
    """Note a descriptor that must stay open.

    Args:
        number: the descriptor.
        spare: a descriptor that takes its place if it is closed; None if nothing can.
    """
    _kept[number] = os.fstat(number), spare


@contextmanager
def kept(number: int) -> Iterator[None]:
    """Note a descriptor that must stay open while the block runs."""
    keep(number)
    try:
        yield
    finally:
        del _kept[number]


def restore() -> bool:
    """Fill the place of each descriptor that foreign code has closed.

    Returns:
        True if one was closed that was kept; what it led to is lost.
    """
    for number in (0, 1, 2):
        if _status(number) is None:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    lost = [(n, spare) for n, (before, spare) in [*_kept.items()] if not _is_open(n, before)]
    for number, spare in lost:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing if spare is None else spare, number)
        if nothing != number:
            os.close(nothing)
    return bool(lost)


def _is_open(number: int, before: os.stat_result) -> bool:
    now = _status(number)
    return now is not None and os.path.samestat(before, now)


def _status(number: int) -> os.stat_result | None:
    try:
        return os.fstat(number)
    except OSError:
        return None
