"""Write the pictures of docs/guide/explore.md: the page of `gradviz explore`, in Chromium.

python tools/photograph_explore.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gradviz.commands.explore.serve import Serving  # noqa: E402
from gradviz.commands.explore.session import ExploredModel, Session  # noqa: E402
from gradviz.image.find import find_images  # noqa: E402
from gradviz.model.load import load_model  # noqa: E402
from tools.photograph_report import ARGUMENTS, chromium  # noqa: E402
from tools.run_docs import PICTURES  # noqa: E402

SIZE = {"width": 1000, "height": 640}
COLOURS = 256
"""The colours of a picture, so that its file is small."""
ANSWERED = "seed => document.querySelector('.panel')?.dataset.answer === seed"


@dataclass(frozen=True)
class Photograph:
    """A picture of the page."""

    name: str
    model: str
    images: str
    seed: str
    """The seed whose answer is on the screen."""
    scheme: str
    """`light` or `dark`."""

    @property
    def file(self) -> Path:
        """The picture in the repository."""
        return PICTURES / self.name


PHOTOGRAPHS = (
    Photograph("explore_map.png", "depth.ts", "room_0[1-6].png", "pixel:38,76", "light"),
    Photograph("explore_classes.png", "shapes.yaml", "shapes_0*.png", "class:2", "dark"),
)


def take(photograph: Photograph, browser: Any, folder: Path) -> Image.Image:
    """Serve a sample, pin a seed, and photograph the page.

    Args:
        photograph: what is to be seen.
        browser: a browser of playwright.
        folder: the folder below which the page may save.
    """
    path = ROOT / "sample_models" / photograph.model
    model = load_model(path)
    found = find_images([str(ROOT / "sample_images" / photograph.images)], folder).sources
    explored = ExploredModel(path.name, model, model.recipe())
    with Serving(Session([explored], found, folder)) as serving:
        page = browser.new_page(viewport=SIZE, color_scheme=photograph.scheme)
        page.set_default_timeout(60_000)  # a busy machine is no failure
        page.goto(f"{serving.address}#seed={photograph.seed}&pinned=yes")
        page.wait_for_function(ANSWERED, arg=photograph.seed)
        page.wait_for_function(
            "() => [...document.images].every(({ complete }) => complete) "
            "&& document.querySelector('.answer .bar:not(.empty), .list button')"
        )
        # How long the answer took is never the same.
        page.evaluate("() => { document.querySelector('.time').value = '14 ms' }")
        screen = page.screenshot()
        page.close()
    return Image.open(BytesIO(screen)).convert("RGB")


def with_browser(work: Callable[[Any], None]) -> None:
    """Launch Chromium, do something, and close it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS])
        work(browser)
        browser.close()


def main() -> None:
    """Take every photograph."""

    def take_all(browser: Any) -> None:
        for photograph in PHOTOGRAPHS:
            picture = take(photograph, browser, ROOT / "gradviz-out")
            picture.quantize(COLOURS, dither=Image.Dither.NONE).save(photograph.file, optimize=True)

    with_browser(take_all)


if __name__ == "__main__":
    main()
