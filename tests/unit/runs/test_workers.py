"""Threads beside the device: order, bounds, errors, and one process's settings."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradviz.errors import ImageError
from gradviz.image.read import read_image
from gradviz.runs.workers import in_order


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one core there would be one, which keeps every order."""
    monkeypatch.setattr("gradviz.runs.workers.THREADS", 4)


def test_results_come_in_the_order_of_the_items() -> None:
    gates = [threading.Event() for _ in range(20)]

    def work(n: int) -> int:
        if n % 2 == 0:  # every other item waits for the one after it
            assert gates[n].wait(10)
        else:
            gates[n - 1].set()
        return n * n

    assert list(in_order(work, range(20), ahead=6)) == [n * n for n in range(20)]


def test_no_more_is_taken_than_may_wait() -> None:
    taken = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    with closing(in_order(abs, items(), ahead=5)) as results:
        for n in range(10):
            assert next(results) == n
            assert len(taken) == n + 6
    assert len(taken) == 15


def test_heavy_items_count_as_several() -> None:
    taken = []

    def items() -> Iterator[int]:
        for n in (0, 0, 0, 9, 2, 2, 2, 0):
            taken.append(n)
            yield n

    results = in_order(abs, items(), 5, weight=float)
    # All three light ones give way to the one that is heavier than all that may wait.
    assert [next(results) for _ in range(4)] == [0, 0, 0, 9]
    assert len(taken) == 4
    assert next(results) == 2 and len(taken) == 7
    assert list(results) == [2, 2, 0]


def test_an_error_comes_at_its_place_and_ends_the_rest() -> None:
    begun = []

    def work(n: int) -> int:
        begun.append(n)
        if n == 3:
            raise ImageError("the third")
        return n

    results = in_order(work, range(1000), ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ImageError, match="the third"):
        next(results)
    assert len(begun) < 20
    assert list(results) == []


def test_an_interruption_comes_after_what_was_begun_before() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise KeyboardInterrupt

    results = in_order(abs, items(), ahead=9)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        next(results)


def test_many_threads_read_at_once_and_leave_pillow_as_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (24, 40, 40, 3), np.uint8)
    for n, each in enumerate(pixels):
        Image.fromarray(each).save(tmp_path / f"{n}.png")
    inside = threading.Barrier(8)
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)

    def read(n: int) -> np.ndarray:
        if n < 8:
            inside.wait(60)
        return np.asarray(read_image(tmp_path / f"{n}.png", max_pixels=1600).levels)

    threads: list[threading.Thread] = []
    found: dict[int, np.ndarray] = {}
    for n in range(len(pixels)):
        threads.append(threading.Thread(target=lambda n=n: found.update({n: read(n)})))
        threads[-1].start()
    for thread in threads:
        thread.join()
    for n, each in enumerate(pixels):
        np.testing.assert_array_equal(found[n], np.moveaxis(each, -1, 0))
    assert limit == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters
