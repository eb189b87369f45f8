"""Pages in a headless Chromium: opening them, pointing at them, and reading what they paint."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
from typer.testing import CliRunner

from gradviz.cli.app import make_app
from tests.helpers.paths import no_browser

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
)

PIXELS = """element => {
  const [under, over] = element.matches("canvas") ? [element] : element.querySelectorAll("canvas");
  let { width, height } = under;
  let place = [0, 0];
  if (over && !over.hidden) {  // it lies over a part of the other, which may have fewer pixels
    const part = (name) => parseFloat(over.style[name]) / 100;
    width = Math.round(over.width / part("width"));
    height = Math.round(over.height / part("height"));
    place = [Math.round(part("left") * width), Math.round(part("top") * height)];
  }
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(under, 0, 0, width, height);
  if (over && !over.hidden) copy.drawImage(over, ...place);
  const { data } = copy.getImageData(0, 0, width, height);
  return [height, width, Array.from(data)];
}"""


def launched() -> Iterator[Any]:
    """Launch the browser, and close it afterwards."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        no_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS])
        yield browser
        browser.close()


def call(*words: object) -> None:
    """Run a command of gradviz."""
    result = CliRunner().invoke(make_app(), [str(word) for word in words])
    assert result.exit_code == 0, result.output


def pixels(canvas: Any) -> np.ndarray:
    """RGB [H, W, 3] of a canvas, or of an element that holds one over another."""
    height, width, data = canvas.evaluate(PIXELS)
    return np.array(data).reshape(height, width, 4)[..., :3]


def hover(canvas: Any, x: float, y: float, of: tuple[int, int]) -> None:
    """Point at the middle of the pixel x, y of a canvas of so many pixels."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    canvas.page.mouse.move(
        box["x"] + box["width"] * (x + 0.5) / of[0], box["y"] + box["height"] * (y + 0.5) / of[1]
    )
