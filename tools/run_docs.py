"""Run README.md, CONTRIBUTING.md and the pages of docs/, and keep the pictures that they draw.

    python tools/run_docs.py            run every page and replace the pictures that changed
    python tools/run_docs.py PAGE...    do so for some pages, such as docs/guide/seeds.md

A page starts in an empty folder that holds `sample_models` and `sample_images`, as the root of a
clone does, and what a reader has of those that `tools/stand_ins.py` lists. Its blocks are run from
top to bottom:

    console      `$ ...` is a command; `$ echo $?` shows the exit code of the command before it; the
                 other lines are its stdout, or all that a terminal shows. `…` stands for any
                 text within a line, and a line of `…` alone for any lines
    python       a doctest if it has a `>>>`; saved if its first line is `# a/file.py`; else run
    yaml, bash   saved under the name in the first line
    text, diff   not run

A picture is shown as `![what it shows](its file "the file that the page's commands wrote")`.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.stand_ins import put_stand_ins  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
REMEDY = "run python tools/run_docs.py, and look at the pictures that changed"

ROUNDING, DIFFERENT = 0.1, 2
"""Mean differences of two pictures, in levels of 255. Another processor rounds differently; another
model draws another picture."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIFF = re.compile(r"^```diff\n.*?^```$", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r"# ([\w./]+\.(?:py|yaml|sh))\n")
PICTURE = re.compile(r'!\[[^]]*\]\(([^) ]+) "([^"]+)"\)')
LINK = re.compile(r'\]\(([^) ]+)(?: "[^"]*")?\)')

NOT_RUN = (
    "git clone ",
    "cd gradviz",
    "python3 -m venv ",
    ".venv/bin/",
    ". .venv/",
    "pip install ",
    "make ",
)
"""The first words of commands that prepare a computer, and of the Makefile's targets."""


@dataclass(frozen=True)
class Page:
    """A Markdown file of this repository, named by its path from the root."""

    name: str

    @property
    def file(self) -> Path:
        """Where the page is."""
        return ROOT / self.name

    @property
    def text(self) -> str:
        """The page's content."""
        return self.file.read_text(encoding="utf-8")

    @property
    def pictures(self) -> dict[str, str]:
        """The names of the pictures that the page's commands draw, with the files they write."""
        prose = BLOCK.sub("", self.text)
        return {Path(shown).name: source for shown, source in PICTURE.findall(prose)}

    @property
    def commands(self) -> list[Command]:
        """The commands that the page shows."""
        return [
            command
            for block in BLOCK.finditer(self.text)
            if block[1] == "console"
            for command in commands_of(block[2])
        ]

    def run(self, folder: Path) -> list[str]:
        """Run every block in an empty folder, and return what went wrong."""
        return run_blocks(self.text, folder, self.name)

    def missing(self, folder: Path) -> list[str]:
        """The files under out/ that the page names and its run did not write."""
        named = set(re.findall(r"\bout/[\w./-]*\w", DIFF.sub("", self.text)))
        return [name for name in sorted(named) if not (folder / name).exists()]

    def stale(self, folder: Path) -> list[str]:
        """The pictures that are no longer what the commands draw."""
        return [
            name
            for name, source in self.pictures.items()
            if difference(folder / source, PICTURES / name) > DIFFERENT
        ]

    def dead_links(self) -> list[str]:
        """The links to files or headings of this repository that do not exist."""
        return [
            link
            for link in LINK.findall(BLOCK.sub("", self.text))
            if not link.startswith("https://") and not self._leads_somewhere(link)
        ]

    def _leads_somewhere(self, link: str) -> bool:
        path, _, heading = link.partition("#")
        target = (self.file.parent / path).resolve() if path else self.file
        if not target.exists() or not target.is_relative_to(ROOT):
            return False
        return not heading or heading in headings(target.read_text(encoding="utf-8"))

    def draw(self) -> None:
        """Run the page, print what went wrong, and keep the pictures that changed."""
        with tempfile.TemporaryDirectory() as folder:
            print(self.name, *self.run(Path(folder)), sep="\n")
            for name, source in self.pictures.items():
                kept, drawn = PICTURES / name, Path(folder, source)
                if not kept.exists() or difference(drawn, kept) > ROUNDING:
                    with Image.open(drawn) as picture:
                        picture.save(kept, optimize=True)


@dataclass(frozen=True)
class Command:
    """A command of a page, and what the page says of it."""

    line: str
    shown: str = ""
    """Its output, of which the page may show a part."""
    code: int = 0
    """Its exit code."""

    @property
    def is_run(self) -> bool:
        """False for a command that prepares a computer."""
        return not self.line.startswith(NOT_RUN)

    def shows(self, *printed: str) -> bool:
        """Test whether the page shows one of these texts; a page may also show nothing."""
        texts = ("".join(f"{line.rstrip()}\n" for line in text.splitlines()) for text in printed)
        return not self.shown or any(re.fullmatch(self._pattern(), text) for text in texts)

    def _pattern(self) -> str:
        def of(line: str) -> str:
            if line == "…":
                return r"(?:.*\n)*?"
            return re.sub(r"(\\ ){2,}", r"\\s+", re.escape(line)).replace("…", ".*?") + r"\n"

        return "".join(of(line.rstrip()) for line in self.shown.splitlines())


def pages() -> list[Page]:
    """Every page that is run: README.md, CONTRIBUTING.md and all of docs/."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    return [Page(file.relative_to(ROOT).as_posix()) for file in files]


def headings(text: str) -> set[str]:
    """The anchors of a page: those that it names, and those that GitHub forms of headings."""
    prose = BLOCK.sub("", text)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    return anchors | set(re.findall(r'<a id="([^"]+)">', prose))


def commands_of(block: str) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, shown = re.split(r"(?<!\\)\n", part, maxsplit=1)
        if line == "echo $?":
            found[-1] = Command(found[-1].line, found[-1].shown, int(shown))
        else:
            found.append(Command(" ".join(line.replace("\\\n", " ").split()), shown))
    return found


def run_blocks(text: str, folder: Path, name: str = "page") -> list[str]:
    """Run a page's blocks in an empty folder.

    Args:
        text: the page, in Markdown.
        folder: where the page is run; it keeps the files that are written.
        name: how messages name the page.

    Returns:
        A message for each block that went wrong.
    """
    for samples in ("sample_models", "sample_images"):
        (folder / samples).symlink_to(ROOT / samples, target_is_directory=True)
    put_stand_ins(text, folder)
    wrong: list[str] = []
    names: dict[str, Any] = {}
    with chdir(folder), torch.random.fork_rng(), _surroundings():
        for block in BLOCK.finditer(text):
            place = f"{name}, line {text[: block.start(2)].count(chr(10))}"
            saved = SAVED.match(block[2])
            match block[1]:
                case "text" | "diff":
                    pass
                case "console":
                    wrong += _run_console(block[2], place)
                case "python" | "yaml" | "bash" if saved:
                    Path(saved[1]).parent.mkdir(parents=True, exist_ok=True)
                    Path(saved[1]).write_text(block[2], encoding="utf-8")
                case "python":
                    wrong += _run_python(block[2], place, names)
                case other:
                    wrong.append(f"{place}: a block of {other!r} is neither run nor saved")
    return wrong


@contextmanager
def _surroundings() -> Iterator[None]:
    """A plain terminal, the `gradviz` of this Python, one thread, and no GPU.

    So a page's commands and its Python compute the same bytes, whatever the machine has.
    """
    modules, path, threads = set(sys.modules), [*sys.path], torch.get_num_threads()
    handler = signal.getsignal(signal.SIGTERM)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "gradviz")
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gradviz "$@"\n')
        program.chmod(0o755)
        colours = {"GITHUB_ACTIONS", "FORCE_COLOR"}
        plain = {name: value for name, value in os.environ.items() if name not in colours} | {
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        with (
            mock.patch.dict(os.environ, plain, clear=True),
            mock.patch.object(torch.cuda, "is_available", return_value=False),
        ):
            sys.path.insert(0, str(Path.cwd()))
            torch.set_num_threads(1)
            try:
                yield
            finally:
                torch.set_num_threads(threads)
                sys.path[:] = path
                for name in set(sys.modules) - modules:
                    if (getattr(sys.modules[name], "__file__", None) or "").startswith(
                        str(Path.cwd())
                    ):
                        del sys.modules[name]
    signal.signal(signal.SIGTERM, handler)


def _run_python(source: str, place: str, names: dict[str, Any]) -> list[str]:
    """Run a block of Python; all blocks of a page share their names."""
    wrong: list[str] = []
    test = doctest.DocTestParser().get_doctest(source, names, place, place, 0)
    if test.examples:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
        runner.run(test, out=wrong.append, clear_globs=False)
        names.update(test.globs)
    else:
        with redirect_stdout(StringIO()):
            exec(compile(source, place, "exec"), names)
    return wrong


def _run_console(source: str, place: str) -> Iterator[str]:
    commands = commands_of(source)
    if not commands:
        yield f"{place}: a console block without a command"
    for command in commands:
        if command.is_run:
            code, stdout, screen = _call(command.line)
            if code != command.code:
                yield f"{place}: {command.line}\nexit code {code}, not {command.code}:\n{screen}"
            elif not command.shows(stdout, screen):
                yield f"{place}: {command.line}\nshown:\n{command.shown}\nprinted:\n{screen}"


def _call(line: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, its stdout, and that together with its stderr."""
    plain, _, file = line.partition(" > ")
    ours = plain.startswith("gradviz ") and "--each" not in plain  # which forks its process
    if not ours or re.search(r"[|&;<>$]", re.sub(r"'[^']*'", "", plain)):
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout, done.stderr + done.stdout
    # In this process, which has imported torch already.
    from gradviz.cli.app import main

    both, code = StringIO(), 0
    out, err = _Copied(both), _Copied(both)
    argv = mock.patch.object(sys, "argv", shlex.split(plain))
    with argv, redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    if file:
        Path(file).write_text(out.getvalue(), encoding="utf-8")
        return code, "", err.getvalue()
    return code, out.getvalue(), both.getvalue()


class _Copied(StringIO):
    """A stream whose text goes to a second one as well."""

    def __init__(self, second: StringIO) -> None:
        super().__init__()
        self.second = second

    def write(self, text: str) -> int:
        """Write to both streams."""
        self.second.write(text)
        return super().write(text)


def difference(drawn: Path, shown: Path) -> float:
    """The mean difference of two pictures, in levels of 255; 255 if their sizes differ."""
    with Image.open(drawn) as one, Image.open(shown) as other:
        if (one.mode, one.size) != (other.mode, other.size):
            return 255.0
        colours = [np.asarray(each.convert("RGB"), np.float64) for each in (one, other)]
        return float(np.abs(colours[0] - colours[1]).mean())


if __name__ == "__main__":
    for page in [Page(name) for name in sys.argv[1:]] or pages():
        page.draw()
