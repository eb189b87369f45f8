"""Where there are no file locks, as on Windows, all works but what writes the folder of a run."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gradviz as package
from tests.helpers.formats import script
from tests.helpers.processes import gradviz, photos

pytestmark = pytest.mark.process

NO_LOCKS = "import sys; sys.modules['fcntl'] = None"
"""From here on `import fcntl` fails in the process."""


def test_every_module_can_be_imported() -> None:
    modules = [module.name for module in pkgutil.walk_packages(package.__path__, "gradviz.")]
    assert "gradviz.runs.lock" in modules
    code = f"{NO_LOCKS}\nimport {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [["--help"], ["saliency", "--help"]])
def test_help_is_printed(words: list[str]) -> None:
    done = gradviz(*words, before=NO_LOCKS)
    assert (done.returncode, done.stderr) == (0, "") and "Usage: " in done.stdout


def test_a_command_that_writes_no_run_works(tmp_path: Path) -> None:
    done = gradviz("inspect", script("x * x / 2", tmp_path / "model.ts"), before=NO_LOCKS)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "seed    ones" in done.stdout


@pytest.mark.parametrize("command", ["saliency", "receptive-field"])
def test_a_run_is_refused_in_one_line(command: str, tmp_path: Path) -> None:
    model, folder = script("x * x / 2", tmp_path / "model.ts"), photos(tmp_path / "photos", 1)
    done = gradviz(command, model, folder, before=NO_LOCKS, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: gradviz-out: ") and done.stderr.count("\n") == 1
    assert "Linux or macOS" in done.stderr
    assert not (tmp_path / "gradviz-out").exists()
