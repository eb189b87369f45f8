"""Folders that 0.1.0 wrote stay readable: a small run of each kind is kept in tests/data."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result

from tests.helpers.paths import ROOT

Gradviz = Callable[..., Result]

WRITTEN = ROOT / "tests" / "data" / "written_by_0.1.0"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The folders, as if they had been written here, by these versions of torch and Python."""
    shutil.copytree(WRITTEN, tmp_path, dirs_exist_ok=True)
    for path in (*tmp_path.glob("*/run.json"), *tmp_path.glob("*/compare.json")):
        path.write_text(path.read_text().replace("/home/me/old", str(tmp_path)))
    for name in ("saliency", "field"):
        path = tmp_path / name / "run.json"
        record = json.loads(path.read_text())
        record["versions"]["torch"] = torch.__version__
        record["versions"]["python"] = sys.version.split()[0]
        path.write_text(json.dumps(record))
        for image in record["images"]:
            if "modified" in image:
                os.utime(image["path"], ns=(image["modified"], image["modified"]))
    return tmp_path


def contents(folder: str) -> dict[str, bytes]:
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    records = ("run.json", "environment.json")
    return {str(path): path.read_bytes() for path in files if path.name not in records}


COMMAND = ("saliency", "model.ts", "photos", "--seed", "ones", "--view", "gray", "-o", "saliency")


def test_it_is_resumed(kept: Path, gradviz: Gradviz) -> None:
    whole = contents("saliency")
    lost = Path("saliency/1.png/ones/gradient.npy")
    lost.unlink()
    stamp = Path("saliency/run.json").stat().st_mtime_ns
    result = gradviz(*COMMAND, "--resume")
    assert result.exit_code == 0, result.stderr
    assert contents("saliency").keys() == whole.keys() and lost.exists()
    assert Path("saliency/run.json").stat().st_mtime_ns >= stamp


def test_it_is_compared(kept: Path, gradviz: Gradviz) -> None:
    assert gradviz(*COMMAND[:-1], "now").exit_code == 0
    result = gradviz("compare", "saliency", "now", "-o", "differences")
    assert result.exit_code == 0, result.stderr
    result = gradviz("compare", "field", "field")
    assert result.exit_code == 0, result.stderr


def test_it_is_shown(kept: Path, gradviz: Gradviz) -> None:
    result = gradviz(
        "report", "saliency", "field", "compare", "--images", "-o", "page.html", "--json"
    )
    assert result.exit_code == 0, result.stderr
    notes: list[Any] = json.loads(result.stdout)["notes"]
    assert notes == []


def test_it_is_overwritten(kept: Path, gradviz: Gradviz) -> None:
    for words in (COMMAND, ("receptive-field", "model.ts", "--input-size", "6x5", "-o", "field")):
        assert gradviz(*words).exit_code in (0, 2)
        result = gradviz(*words, "--overwrite")
        assert result.exit_code == 0, result.stderr
    assert not any("part" in name for name in contents("."))
    before = {name for name in contents("compare") if not name.endswith("compare.json")}
    result = gradviz("compare", "saliency", "saliency", "-o", "compare", "--overwrite")
    assert result.exit_code == 0, result.stderr
    assert {name for name in contents("compare") if not name.endswith("compare.json")} == before
