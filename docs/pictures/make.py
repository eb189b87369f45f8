"""Run the README, keep its pictures, and write docs/support.md.

python docs/pictures/make.py            run it in a temporary folder and keep what it draws
python docs/pictures/make.py FOLDER     run it in FOLDER, and tell in transcript.json what happened

Every block of the README is a step, in the order of the page:

    console    `$ …` is a command, `$ echo $?` tells its exit code, the rest is what it prints
    python     is run, or saved where the first line is a comment with a file name
    yaml, bash is saved under the file name in its first line
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PICTURES = Path(__file__).resolve().parent
SUPPORT = ROOT / "docs" / "support.md"
TRANSCRIPT = "transcript.json"

NOT_RUN = ("python3 -m venv ", ". .venv/bin/activate", "pip install ", "make ")
"""How the commands begin that prepare a computer rather than show gradviz."""

HERO = "hero/room_02.png"
DEPTH = "seeds_depth/room_01.png"
CLASS = "seeds_class/shapes_04.png"
MAP = "seeds_map/shapes_04.png"

KEPT = {
    "readme_ones.png": f"{HERO}/ones/overlay.png",
    "readme_at.png": f"{HERO}/at-96-150/overlay.png",
    "readme_seed_ones.png": f"{DEPTH}/ones/overlay.png",
    "readme_seed_class.png": f"{CLASS}/class-circle/overlay.png",
    "readme_seed_loss.png": f"{CLASS}/loss-ce-star/overlay.png",
    "readme_seed_top.png": f"{CLASS}/top/overlay.png",
    "readme_seed_predicted.png": f"{MAP}/predicted-3/overlay.png",
    "readme_seed_pixel.png": f"{DEPTH}/pixel-64-48/overlay.png",
    "readme_seed_at.png": f"{DEPTH}/at-20-90/overlay.png",
    "readme_seed_region.png": f"{DEPTH}/region-32-52-58-94/overlay.png",
    "readme_seed_channel.png": f"{MAP}/channel-2/overlay.png",
    "readme_seed_mask.png": f"{DEPTH}/mask-near.png/overlay.png",
    "readme_seed_tensor.png": f"{DEPTH}/tensor-farther.npy/overlay.png",
} | {
    f"readme_view_{view}.png": f"views/shapes_01.png/top/{view}.png"
    for view in ("heatmap", "signed", "rgb", "positive", "negative", "gray", "overlay")
}
"""The pictures of the README, and which files its commands write them to."""


@dataclass
class Command:
    """One command that the README shows, and what came of it."""

    line: str
    shown: list[str] = field(default_factory=list)
    """The lines of its output that the README shows; `…` stands for anything."""
    shown_code: int = 0
    code: int | None = None
    """The exit code; None where it was not run."""
    printed: str = ""


@dataclass(frozen=True)
class Code:
    """A block of Python, YAML or Bash."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """Where it is saved, if its first line says so."""
        named = re.match(r"# ([\w./]+\.(?:py|yaml|sh))\n", self.text)
        return named[1] if named else None


def steps(page: str) -> Iterator[Command | Code]:
    """What the README does, in order."""
    for block in re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        language, text = block.groups()
        if language == "console":
            yield from commands(text.replace("\\\n", " "))
        elif language in ("python", "yaml", "bash"):
            yield Code(language, text)


def commands(text: str) -> list[Command]:
    """The commands of one console block."""
    found: list[Command] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line == "$ echo $?":
            found[-1].shown_code = int(next(lines))
        elif line.startswith("$ "):
            found.append(Command(" ".join(line[2:].split())))
        else:
            found[-1].shown.append(line)
    return found


def run(command: Command) -> None:
    """Run a command; `gradviz` on its own in this process, which has imported torch already."""
    if command.line.startswith(NOT_RUN):
        return
    words = shlex.split(command.line)
    if words[0] == "gradviz" and not re.search(r"[|&;<>$]", command.line):
        command.code, command.printed = call_gradviz(words)
    else:
        done = subprocess.run(
            ["bash", "-c", command.line],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        command.code, command.printed = done.returncode, done.stdout


def call_gradviz(words: list[str]) -> tuple[int, str]:
    from gradviz.cli.app import main

    said, code = io.StringIO(), 0
    before, sys.argv = sys.argv, words
    try:
        with redirect_stdout(said), redirect_stderr(said):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        sys.argv = before
    return code, said.getvalue()


def prepare(folder: Path) -> None:
    """Lay out what a reader has: the samples, and a photo and a torchvision model of their own."""
    for name in ("sample_models", "sample_images"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "torchvision").mkdir()
    (folder / "torchvision/__init__.py").touch()
    (folder / "torchvision/models.py").write_text(
        "from torch import nn\n\n\n"
        "def resnet50():\n"
        "    return nn.Sequential(\n"
        "        nn.Conv2d(3, 4, 7, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),\n"
        "        nn.Linear(4, 1000),\n"
        "    )\n"
    )
    import torch
    from PIL import Image

    torch.manual_seed(0)
    layers = {"0": torch.nn.Conv2d(3, 4, 7, 4), "4": torch.nn.Linear(4, 1000)}
    weights = {f"{n}.{k}": w for n, layer in layers.items() for k, w in layer.state_dict().items()}
    torch.save(weights, folder / "resnet.pt")
    with Image.open(folder / "sample_images/room_06.png") as photo:
        photo.resize((320, 256)).save(folder / "photo.jpg")


def run_readme(folder: Path) -> list[Command]:
    """Run the whole README in an empty folder."""
    os.environ |= {
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",  # the same bytes on machines of few and of many cores
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for name in ("GITHUB_ACTIONS", "FORCE_COLOR"):  # they make Rich colour what no terminal shows
        os.environ.pop(name, None)
    prepare(folder)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    done = []
    for step in steps(README.read_text(encoding="utf-8")):
        if isinstance(step, Command):
            run(step)
            done.append(step)
        elif step.file:
            Path(step.file).parent.mkdir(parents=True, exist_ok=True)
            Path(step.file).write_text(step.text, encoding="utf-8")
        else:
            exec(compile(step.text, README.name, "exec"), {"__name__": "__readme__"})
    return done


def support_page() -> str:
    """The content of docs/support.md."""
    from gradviz.model.support import as_markdown

    return (
        "# What works with which model format\n\n"
        "Written by `docs/pictures/make.py` from the table in `gradviz/model/support.py`, the one\n"
        "place where gradviz looks this up. A refusal prints the reason below it.\n\n"
        + as_markdown()
    )


def keep_pictures(folder: Path) -> None:
    """Copy the pictures that the README's commands wrote, packed as small as PNG allows."""
    from PIL import Image

    for name, source in KEPT.items():
        with Image.open(folder / source) as picture:
            picture.save(PICTURES / name, optimize=True)


def main(arguments: list[str]) -> None:
    if arguments:
        folder = Path(arguments[0]).resolve()
        done = run_readme(folder)
        (folder / TRANSCRIPT).write_text(json.dumps([asdict(command) for command in done]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        for command in run_readme(Path(temporary)):
            if command.code not in (None, command.shown_code):
                print(f"$ {command.line}\n{command.printed}exit code {command.code}")
        keep_pictures(Path(temporary))
        os.chdir(ROOT)  # the temporary folder is about to go
    SUPPORT.write_text(support_page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
