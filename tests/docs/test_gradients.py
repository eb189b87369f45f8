"""docs/gradients.md: every example runs, and every number and picture is what it gives.

`python tests/docs/test_gradients.py` draws the page's pictures anew, after a model has changed.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gradients.md"
PICTURES = {
    "gradients_ones_overlay.png": "out/depth/room_01.png/ones/overlay.png",
    "gradients_pixel_overlay.png": "out/depth/room_01.png/pixel-64-48/overlay.png",
    "gradients_pixel_signed.png": "out/depth/room_01.png/pixel-64-48/signed.png",
    "gradients_pixel_rgb.png": "out/depth/room_01.png/pixel-64-48/rgb.png",
}
"""The page's pictures, and the file of its commands that each is a copy of."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run_page(text: str, folder: Path) -> list[str]:
    """Run a page's blocks in their order, in `folder`; what went wrong, by line of the page."""
    for name in ("sample_models", "sample_images"):
        (folder / name).symlink_to(ROOT / name, target_is_directory=True)
    wrong: list[str] = []
    names: dict[str, Any] = {}
    with chdir(folder), torch.random.fork_rng():
        for block in BLOCK.finditer(text):
            line = text[: block.start(2)].count("\n")
            match block[1]:
                case "python":
                    wrong += run_python(block[2], line, names)
                case "console":
                    wrong += run_console(block[2], line)
                case other:
                    wrong.append(f"line {line}: a block of {other!r} is not run")
    return wrong


def run_python(source: str, line: int, names: dict[str, Any]) -> list[str]:
    wrong: list[str] = []
    test = doctest.DocTestParser().get_doctest(source, names, PAGE.name, str(PAGE), line)
    if not test.examples:
        wrong.append(f"line {line}: a block without an example")
    runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
    runner.run(test, out=wrong.append, clear_globs=False)
    names.update(test.globs)
    return wrong


def run_console(source: str, line: int) -> Iterator[str]:
    commands = re.split(r"^\$ ", source, flags=re.MULTILINE)[1:]
    if not commands:
        yield f"line {line}: a block without a command"
    for each in commands:
        command, _, shown = re.split(r"(?<!\\)(\n)", each, maxsplit=1)
        done = subprocess.run(
            command, shell=True, env=environment(), capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            yield f"line {line}: {command}\nexit code {done.returncode}: {done.stderr}"
        elif shown and not doctest.OutputChecker().check_output(shown, done.stdout, FLAGS):
            yield f"line {line}: {command}\nexpected:\n{shown}\ngot:\n{done.stdout}"


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "GITHUB_ACTIONS"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # On a GPU the commands would round differently from the page's Python.
    return {**kept, "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": "", "PATH": path}


def unlike(drawn: Path, shown: Path) -> float:
    """The mean difference of two pictures, in levels of 255."""
    with Image.open(drawn) as one, Image.open(shown) as other:
        if (one.mode, one.size) != (other.mode, other.size):
            return 255.0
        difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
        return float(np.abs(difference).mean())


def test_every_example_holds_and_every_file_is_there(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    wrong = run_page(text, tmp_path)
    assert not wrong, "\n".join(wrong)

    named = set(re.findall(r"\bout/[\w./-]*\w", text))
    assert len(named) > 5
    assert not [name for name in named if not (tmp_path / name).exists()]

    # Another processor rounds differently; another model draws another picture.
    stale = [
        name
        for name, source in PICTURES.items()
        if unlike(tmp_path / source, PAGE.parent / "pictures" / name) > 2
    ]
    assert not stale, f"run python {Path(__file__).relative_to(ROOT)}"


def test_every_link_leads_somewhere() -> None:
    text = PAGE.read_text(encoding="utf-8")
    prose = BLOCK.sub("", text)
    headings = re.findall(r"^## (.+)$", prose, re.MULTILINE)
    anchors = {"#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}
    links = re.findall(r"\]\(([^)]+)\)", prose)
    assert {f"pictures/{name}" for name in PICTURES} <= set(links)
    assert not [
        link for link in links if link not in anchors and not (PAGE.parent / link).is_file()
    ]


@pytest.mark.parametrize(
    "page",
    [
        "```python\n>>> 1 + 1\n3\n```\n",
        "```python\n>>> unknown\n```\n",
        "```python\nx = 1\n```\n",
        "```console\n$ exit 3\n```\n",
        "```console\n$ echo one \\\n    two\none three\n```\n",
        "```text\nnot run\n```\n",
    ],
)
def test_a_wrong_page_is_noticed(page: str, tmp_path: Path) -> None:
    assert len(run_page(page, tmp_path)) == 1


def test_blocks_share_their_names_and_their_folder(tmp_path: Path) -> None:
    page = (
        "```console\n$ echo one \\\n    two > file\n$ cat file\none ...\n```\n"
        "```python\n>>> from pathlib import Path\n>>> words = Path('file').read_text()\n```\n"
        "```python\n>>> words.split()\n['one', 'two']\n```\n"
    )
    assert run_page(page, tmp_path) == []


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(*run_page(PAGE.read_text(encoding="utf-8"), Path(folder)), sep="\n")
        for name, source in PICTURES.items():
            shutil.copy(Path(folder, source), PAGE.parent / "pictures" / name)
