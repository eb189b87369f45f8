"""Work that goes on beside the device: reading images before a pass, writing results after it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = min(4, os.cpu_count() or 1)
"""As many as keep a fast device busy; Pillow and NumPy let go of Python's lock where they work."""


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Generator[Result]:
    """`map(work, items)`, done by threads while the caller does something else.

    Args:
        work: called in several threads at once.
        items: taken in the caller's thread.
        ahead: how many results may wait or be in the making, which bounds the memory.

    Raises:
        whatever `work` raises, at the place of its item; what has not begun then never does.
    """
    under_way: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) > ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
