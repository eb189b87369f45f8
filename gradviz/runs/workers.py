"""Work that goes on beside the device: reading images before a pass, writing results after it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

THREADS = min(4, os.cpu_count() or 1)
"""A number that keeps a fast device busy; Pillow and NumPy release Python's lock while they
work."""


def _light(_item: object) -> float:
    return 0


def in_order(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    ahead: int,
    weight: Callable[[_Item], float] = _light,
) -> Generator[_Result]:
    """Run `map(work, items)` in threads while the caller does something else.

    Args:
        work: the function, called in several threads at once.
        items: taken in the caller's thread.
        ahead: the most results that may wait or be in progress, which bounds the memory.
        weight: the weight of an item; one that weighs more than 1 counts as several.

    Raises:
        whatever `work` raises, at the place of its item; items that have not begun then never do.
        Whatever `items` raises, an interruption too, after the results of the items before it.
    """
    under_way: deque[tuple[Future[_Result], float]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    source = iter(items)
    try:
        while True:
            try:
                item = next(source)
            except BaseException as error:  # the end of the items, a failure, or an interruption
                end = error
                break
            under_way.append((pool.submit(work, item), max(1, weight(item))))
            while sum(heavy for _, heavy in under_way) > ahead:
                yield under_way.popleft()[0].result()
        while under_way:
            yield under_way.popleft()[0].result()
        if not isinstance(end, StopIteration):
            raise end
    finally:
        pool.shutdown(cancel_futures=True)
