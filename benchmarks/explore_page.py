"""The page of `gradviz explore` in a browser: from a move of the pointer to the painted map."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurement import Measurement, NotHere

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "sample_models" / "depth.ts"
IMAGE = ROOT / "sample_images" / "room_01.png"
SIDES = (128, 2048)
ROUNDS = 3
MOVES = 100
FIRST = "() => document.querySelector('.panel')?.dataset.answer"
WHOLE = "() => document.querySelector('.answer .bar:not(.empty) span')?.textContent"

WATCH = """() => {
  // After the frame that shows the map: a message is handled once the frame is made.
  const section = document.querySelector(".panel");
  const { port1, port2 } = new MessageChannel();
  let moved = null;
  window.times = [];
  document.querySelector(".answer .map").addEventListener("pointermove", (event) => {
    moved = event.timeStamp;
  }, { capture: true });
  let told = () => {};
  window.answered = new Promise((done) => { told = done; });
  port1.onmessage = () => {
    window.times.push(performance.now() - moved);
    told();
    window.answered = new Promise((done) => { told = done; });
  };
  new MutationObserver(() => requestAnimationFrame(() => port2.postMessage(null)))
    .observe(section, { attributeFilter: ["data-answer"] });
}"""
"""Notes how long each answer took, from the time stamp of the pointer's move."""


def measurements() -> Iterator[Measurement]:
    """The times of moves, and of the first answer."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        raise NotHere("there is no Chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NotHere("there is no playwright") from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for side in SIDES:
            yield from _at(side, browser)
        browser.close()


def _at(side: int, browser: Any) -> Iterator[Measurement]:
    firsts, rounds = list[float](), list[list[float]]()
    for _ in range(ROUNDS):
        with served(side) as address:
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            page.goto(address, wait_until="commit")
            page.wait_for_function(FIRST, timeout=120_000, polling=5)
            firsts.append(page.evaluate("performance.now()") / 1e3)
            page.wait_for_function(WHOLE, timeout=120_000)  # the output is there as well
            rounds.append(moved(page))
            page.close()
    what = f"explore, depth model at {side}²"
    medians = tuple(float(np.median(each)) for each in rounds)
    slowest = tuple(float(np.percentile(each, 95)) for each in rounds)
    yield Measurement(f"{what}: from pointer move to painted map", "", medians, "ms", most=60)
    yield Measurement(f"{what}: the same, 95th percentile", "", slowest, "ms", most=150)
    yield Measurement(f"{what}: first map after opening", "", tuple(firsts), "s", most=1.5)


@contextmanager
def served(side: int) -> Iterator[str]:
    """Serve the image at a size; yield the address of the page."""
    command = [sys.executable, "-m", "gradviz", "explore", MODEL, IMAGE, "--no-browser"]
    server = subprocess.Popen(
        [*map(str, command), "--resize", f"{side}x{side}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


def moved(page: Any) -> list[float]:
    """Move the pointer to places at random, each once the map of the last is painted.

    Returns:
        the milliseconds of each move.
    """
    page.evaluate(WATCH)
    box = page.locator(".answer .map").bounding_box()
    places = random.Random(0)
    for n in range(MOVES):
        page.mouse.move(
            box["x"] + box["width"] * places.random(), box["y"] + box["height"] * places.random()
        )
        # Nothing is polled, which would take time from what is measured.
        page.evaluate("n => window.times.length > n || window.answered", n)
    found: list[float] = page.evaluate("window.times")
    return found
