"""The figure is gradviz's own, whatever lies in the working folder, and whatever images are called.

A process takes some seconds: matplotlib is imported.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.helpers.formats import script
from tests.helpers.processes import gradviz as process
from tests.helpers.processes import photos

Gradviz = Callable[..., Result]

RC = """
text.usetex: True
text.latex.preamble: \\input{secrets}
figure.facecolor: red
no.such.key: 1
"""


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_matplotlibrc_in_the_working_folder_is_not_obeyed(kind: str, tmp_path: Path) -> None:
    figures = []
    for name, settings in (("plain", None), ("hostile", RC)):
        place = tmp_path / name
        place.mkdir()
        photos(place / "in", 1)
        script("x * x / 2", place / "model.ts")
        if settings is not None:
            (place / "matplotlibrc").write_text(settings)
        done = process("saliency", "model.ts", "in", "--figure", f"f.{kind}", "-q", cwd=place)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        figures.append((place / f"f.{kind}").read_bytes())
    assert figures[0] == figures[1]


def test_a_cache_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    photos(tmp_path / "in", 1)
    script("x * x / 2", tmp_path / "model.ts")
    words = ["saliency", "model.ts", "in", "--figure", "f.svg", "-q"]
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "file" / "below")}
    done = process(*words, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "f.svg").exists()


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_names_that_are_no_text(kind: str, gradviz: Gradviz, tmp_path: Path) -> None:
    photo = photos(tmp_path / "in", 1) / "0000.png"
    for name in (b"caf\xe9\xff.png", b"\x1b[31m\x07.png", b"a\nb\t$x$.png"):
        shutil.copy(photo, tmp_path / "in" / os.fsdecode(name))
    model = script("x * x / 2", tmp_path / "m\x01.ts")
    result = gradviz("saliency", model, "in", "--figure", f"f.{kind}")
    assert result.exit_code == 0 and Path(f"f.{kind}").stat().st_size > 1000
