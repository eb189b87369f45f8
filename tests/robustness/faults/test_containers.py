"""A read-only root, no HOME, a user without a name: commands work with a TMPDIR, or name it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from PIL import Image
from torch import nn

from tests.helpers.formats import script

pytestmark = pytest.mark.process

WRITABLE = "/dev/shm"
"""A file system of its own, which stays writable; containers have it too."""

# As root of the namespace, then as a user that no file of users names.
INSIDE = """
mount -o remount,bind,ro / || exit 99
! touch "$1/x" 2>/dev/null || exit 98
shift
exec unshare --user --map-user=4242 --map-group=4242 "$@"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A folder that becomes read-only, with models and a photo; and one that stays writable."""
    folder = tmp_path_factory.mktemp("read_only")
    script("(x * x).sum(1, keepdim=True)", folder / "model.ts")
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3)).eval()
    torch.export.save(torch.export.export(net, (torch.rand(1, 3, 8, 9),)), folder / "model.pt2")
    Image.effect_noise((9, 8), 90).convert("RGB").save(folder / "photo.png")
    with TemporaryDirectory(dir=WRITABLE) as out:
        Path(out).chmod(0o777)
        yield folder, Path(out)


def contained(
    words: Sequence[str | Path], place: tuple[Path, Path], temporary: bool
) -> subprocess.CompletedProcess[str]:
    return python(["-m", "gradviz", *map(str, words), "-q"], place, temporary)


def python(
    words: Sequence[str], place: tuple[Path, Path], temporary: bool
) -> subprocess.CompletedProcess[str]:
    folder, out = place
    variables = {"PATH": "/usr/bin:/bin", **({"TMPDIR": str(out)} if temporary else {})}
    command = ["unshare", "-Urm", "bash", "-c", INSIDE, "bash", str(folder), sys.executable, *words]
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


COMMANDS: dict[str, list[str]] = {
    "saliency": ["saliency", "model.ts", "photo.png", "-o", "{}/saliency"],
    "receptive-field": ["receptive-field", "model.ts", "-o", "{}/field"],
    "check": ["check", "model.ts", "photo.png"],
    "inspect": ["inspect", "model.ts", "photo.png"],
    "each": ["saliency", "--each", "*.ts", "photo.png", "-o", "{}/each"],
    "compare": ["compare", "{}/saliency", "{}/saliency"],
    "report": ["report", "{}/saliency", "-o", "{}/page.html"],
}
NEEDY: dict[str, list[str]] = {
    "figure": ["saliency", "model.ts", "photo.png", "--figure", "{}/f.png", "-o", "{}/figure"],
    "pt2": ["saliency", "model.pt2", "photo.png", "--trust", "-o", "{}/pt2"],
}
"""Commands whose libraries need a temporary folder."""


def words_in(place: tuple[Path, Path], words: list[str], n: bool) -> list[str]:
    return [word.format(place[1] / str(n)) for word in words]


@pytest.mark.parametrize("temporary", [False, True], ids=["without TMPDIR", "with TMPDIR"])
def test_commands_work_and_are_silent(place: tuple[Path, Path], temporary: bool) -> None:
    for words in COMMANDS.values():
        done = contained(words_in(place, words, temporary), place, temporary)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), words


ASKED = """
import json, sys
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener
import gradviz
browser = build_opener(ProxyHandler({}), HTTPCookieProcessor())
with gradviz.explore(gradviz.load_model("model.ts"), "photo.png", out=sys.argv[1]) as page:
    browser.open(page.address)
    home = page.address.partition("/?")[0]
    for path in ("/output", "/fields", "/ask", "/save"):
        asked = json.dumps({"client": "tab", "number": 1}).encode()
        headers = {"Content-Type": "application/json", "Origin": home}
        answer = browser.open(Request(home + path, asked, headers)).read()
        assert b"error" not in answer, answer
"""


@pytest.mark.parametrize("temporary", [False, True], ids=["without TMPDIR", "with TMPDIR"])
def test_the_page_of_explore_answers(place: tuple[Path, Path], temporary: bool) -> None:
    out = place[1] / f"explored {temporary}"
    done = python(["-c", ASKED, str(out)], place, temporary)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (out / "001/run.json").exists()


@pytest.mark.parametrize("name", NEEDY)
def test_what_needs_a_temporary_folder(name: str, place: tuple[Path, Path]) -> None:
    without = contained(words_in(place, NEEDY[name], False), place, temporary=False)
    assert without.returncode == 2, without.stderr
    (line,) = without.stderr.splitlines()
    assert line.startswith("error: ") and "set TMPDIR" in line
    done = contained(words_in(place, NEEDY[name], True), place, temporary=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_output_folder_that_is_read_only(place: tuple[Path, Path]) -> None:
    words = ["saliency", "model.ts", "photo.png"]
    done = contained(words, place, temporary=True)
    assert done.returncode == 2 and "choose another -o" in done.stderr, done.stderr
