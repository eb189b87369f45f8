"""Pages of docs/ that run: every block is executed, every picture is what a command drew.

`python tests/docs/pages.py` draws the pictures of all pages anew, after a model has changed, and
keeps those that differ visibly from the ones that are there.

    python     a doctest; all blocks of a page share their names
    console    `$ …` is a command, `$ echo $?` tells the exit code of the one before, the rest is
               what it prints: stdout, and stderr before it where the exit code is not 0
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REMEDY = "run python tests/docs/pages.py, and look at what changed"

ROUNDING, DIFFERENT = 0.1, 2
"""Mean differences of two pictures, in levels of 255. Another processor rounds differently; another
model draws another picture."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Page:
    """A page of docs/."""

    name: str
    pictures: dict[str, str]
    """The page's pictures, and the file of its commands that each is a copy of."""

    @property
    def text(self) -> str:
        return (DOCS / self.name).read_text(encoding="utf-8")

    def run(self, folder: Path) -> list[str]:
        """Run every block in `folder`; what went wrong."""
        return run_page(self.text, folder, self.name)

    def missing(self, folder: Path) -> list[str]:
        """The files under out/ that the page names and its run did not write."""
        named = set(re.findall(r"\bout/[\w./-]*\w", self.text))
        return [name for name in sorted(named) if not (folder / name).exists()]

    def stale(self, folder: Path) -> list[str]:
        """The pictures that are no longer what the commands draw."""
        return [
            name
            for name, source in self.pictures.items()
            if unlike(folder / source, DOCS / "pictures" / name) > DIFFERENT
        ]

    def unlinked(self) -> list[str]:
        """Links that lead nowhere, and pictures that the page does not show."""
        prose = BLOCK.sub("", self.text)
        headings = re.findall(r"^## (.+)$", prose, re.MULTILINE)
        titles = (re.sub(r"[^\w -]", "", title.lower()) for title in headings)
        anchors = {"#" + title.replace(" ", "-") for title in titles}
        links = re.findall(r"\]\(([^)]+)\)", prose)
        shown = [f"pictures/{name}" for name in self.pictures]
        return [link for link in shown if link not in links] + [
            link
            for link in links
            if link not in anchors and not link.startswith("https:") and not (DOCS / link).is_file()
        ]

    def draw(self) -> None:
        """Run the page and keep what it draws."""
        with tempfile.TemporaryDirectory() as folder:
            print(*self.run(Path(folder)), sep="\n")
            for name, source in self.pictures.items():
                kept, drawn = DOCS / "pictures" / name, Path(folder, source)
                if not kept.exists() or unlike(drawn, kept) > ROUNDING:
                    shutil.copy(drawn, kept)


GRADIENTS = Page(
    "gradients.md",
    {
        "gradients_ones_overlay.png": "out/depth/room_01.png/ones/overlay.png",
        "gradients_pixel_overlay.png": "out/depth/room_01.png/pixel-64-48/overlay.png",
        "gradients_pixel_signed.png": "out/depth/room_01.png/pixel-64-48/signed.png",
        "gradients_pixel_rgb.png": "out/depth/room_01.png/pixel-64-48/rgb.png",
    },
)
RECEPTIVE_FIELDS = Page(
    "receptive-fields.md",
    {
        "fields_depth_overlay.png": "out/depth/room_01.png/pixel-64-48/overlay.png",
        "fields_depth_effective.png": "out/depth/room_01.png/pixel-64-48/effective.png",
        "fields_depth_log.png": "out/log/room_01.png/pixel-64-48/effective.png",
        "fields_small_structural.png": "out/small/room_01.png/pixel-16-16/structural.png",
        "fields_small_local.png": "out/small/room_01.png/pixel-16-16/local.png",
        "fields_small_effective.png": "out/small/room_01.png/pixel-16-16/effective.png",
    },
)
METHODS = Page(
    "methods.md",
    {
        f"methods_{name}.png": f"out/{source}.png"
        for name, source in {
            "gradient_star": "gradient/shapes_04.png/class-star/overlay",
            "gradient_circle": "gradient/shapes_04.png/class-circle/overlay",
            "product_star": "product/shapes_04.png/class-star/signed",
            "product_circle": "product/shapes_04.png/class-circle/signed",
            "pixel": "pixel/room_02.png/at-96-150/overlay",
            "smoothgrad": "smooth/room_02.png/at-96-150/overlay",
            "vargrad_star": "spread/shapes_04.png/class-star/heatmap",
            "vargrad_circle": "spread/shapes_04.png/class-circle/heatmap",
            "integrated_star": "integrated/shapes_04.png/class-star/signed",
            "integrated_circle": "integrated/shapes_04.png/class-circle/signed",
            "guided_star": "guided/shapes_04.png/class-star/rgb",
            "guided_circle": "guided/shapes_04.png/class-circle/rgb",
            "deconvnet_star": "deconvnet/shapes_04.png/class-star/overlay",
            "deconvnet_circle": "deconvnet/shapes_04.png/class-circle/overlay",
            "gradcam_star": "cam/shapes_04.png/class-star/overlay",
            "gradcam_circle": "cam/shapes_04.png/class-circle/overlay",
            "seg_wall": "seg/room_02.png/at-64-64/overlay",
            "seg_floor": "seg/room_02.png/at-96-150/overlay",
            "both_star": "both/shapes_04.png/class-star/rgb",
            "both_circle": "both/shapes_04.png/class-circle/rgb",
        }.items()
    },
)


def run_page(text: str, folder: Path, name: str = "page") -> list[str]:
    """Run a page's blocks in their order, in `folder`; what went wrong, by line of the page."""
    for samples in ("sample_models", "sample_images"):
        (folder / samples).symlink_to(ROOT / samples, target_is_directory=True)
    wrong: list[str] = []
    names: dict[str, Any] = {}
    with chdir(folder), torch.random.fork_rng(), _surroundings():
        for block in BLOCK.finditer(text):
            line = text[: block.start(2)].count("\n")
            match block[1]:
                case "python":
                    wrong += _run_python(block[2], line, names, name)
                case "console":
                    wrong += _run_console(block[2], line)
                case other:
                    wrong.append(f"line {line}: a block of {other!r} is not run")
    return wrong


@contextmanager
def _surroundings() -> Iterator[None]:
    """A plain terminal, and no GPU: the commands would round differently from the page's Python."""
    kept = {name: value for name, value in os.environ.items() if name != "GITHUB_ACTIONS"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    plain = {**kept, "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": "", "PATH": path}
    handler = signal.getsignal(signal.SIGTERM)
    with (
        mock.patch.dict(os.environ, plain, clear=True),
        mock.patch.object(torch.cuda, "is_available", return_value=False),
    ):
        yield
    signal.signal(signal.SIGTERM, handler)


def _run_python(source: str, line: int, names: dict[str, Any], name: str) -> list[str]:
    wrong: list[str] = []
    test = doctest.DocTestParser().get_doctest(source, names, name, name, line)
    if not test.examples:
        wrong.append(f"line {line}: a block without an example")
    runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
    runner.run(test, out=wrong.append, clear_globs=False)
    names.update(test.globs)
    return wrong


def _run_console(source: str, line: int) -> Iterator[str]:
    commands = [
        re.split(r"(?<!\\)\n", each, maxsplit=1)
        for each in re.split(r"^\$ ", source, flags=re.MULTILINE)[1:]
    ]
    if not commands:
        yield f"line {line}: a block without a command"
    for place, (command, shown) in enumerate(commands):
        if command == "echo $?":
            continue
        following = commands[place + 1 : place + 2]
        told = [int(said) for after, said in following if after == "echo $?"]
        expected = told[0] if told else 0
        code, stdout, stderr = _call(command)
        printed = stderr + stdout if code else stdout
        if code != expected:
            yield f"line {line}: {command}\nexit code {code}: {stderr}"
        elif shown and not doctest.OutputChecker().check_output(shown, printed, FLAGS):
            yield f"line {line}: {command}\nexpected:\n{shown}\ngot:\n{printed}"


def _call(command: str) -> tuple[int, str, str]:
    """A command's exit code, stdout and stderr."""
    words = shlex.split(command.replace("\\\n", " "))
    if words[0] != "gradviz":
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr
    # In this process, which has imported torch already.
    from gradviz.cli.app import main

    out, err, code = StringIO(), StringIO(), 0
    with mock.patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return code, out.getvalue(), err.getvalue()


def unlike(drawn: Path, shown: Path) -> float:
    """The mean difference of two pictures, in levels of 255."""
    with Image.open(drawn) as one, Image.open(shown) as other:
        if (one.mode, one.size) != (other.mode, other.size):
            return 255.0
        colours = [np.asarray(each.convert("RGB"), np.float64) for each in (one, other)]
        return float(np.abs(colours[0] - colours[1]).mean())


if __name__ == "__main__":
    for page in (GRADIENTS, METHODS, RECEPTIVE_FIELDS):
        page.draw()
