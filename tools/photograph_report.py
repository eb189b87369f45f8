"""Write docs/pictures/report.png: the page that README.md makes with `gradviz report`, in Chromium.

python tools/photograph_report.py
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.run_docs import PICTURES, Page  # noqa: E402

PICTURE = PICTURES / "report.png"
SIZE = {"width": 1000, "height": 600}
DRAWN = """() => {
  const seen = (canvas) => canvas.getBoundingClientRect().top < innerHeight;
  const drawn = (canvas) => canvas.dataset.drawn?.startsWith("overlay");
  const canvases = [...document.querySelectorAll(".cards button > canvas")].filter(seen);
  return canvases.length > 0 && canvases.every(drawn);
}"""
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


def chromium() -> str | None:
    """The path of the browser, or None if there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def photograph(report: Path, picture: Path) -> None:
    """Write the upper part of a report as a PNG.

    Args:
        report: the HTML file.
        picture: the file to write.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS])
        page = browser.new_page(
            viewport={"width": SIZE["width"], "height": SIZE["height"]}, color_scheme="light"
        )
        page.set_default_timeout(60_000)  # a busy machine is no failure
        page.goto(report.as_uri())
        page.select_option("form [name=view]", "overlay")
        page.wait_for_function(DRAWN)
        screen = page.screenshot()
        browser.close()
    with Image.open(BytesIO(screen)) as photograph:
        photograph.convert("RGB").save(picture, optimize=True)


def main() -> None:
    """Run README.md and photograph its report."""
    with tempfile.TemporaryDirectory() as folder:
        print(*Page("README.md").run(Path(folder)), sep="\n")
        photograph(Path(folder, "out/report.html"), PICTURE)


if __name__ == "__main__":
    main()
