"""A disk that is full, a folder that is read-only, and files that go away while they are used.

A process of its own takes about two seconds; the rest runs here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import Result

from gradviz.run.store import Store
from tests.faults.processes import gradviz as process
from tests.faults.processes import photos, script

Gradviz = Callable[..., Result]

FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
"""No file may become longer, which a program notices as it notices a full disk."""

HUMBLE = """
import ctypes, os
if os.geteuid() == 0:  # then only without the capabilities to override permissions
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
    if not os.environ.get("HUMBLE"):
        import sys
        os.environ["HUMBLE"] = "1"
        os.execv(sys.executable, [sys.executable, "-c", {code!r}, *sys.argv[1:]])
"""


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "run.json"
    }


def one_error(stderr: str) -> str:
    (said,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in stderr
    return said


@pytest.mark.parametrize("limit", [0, 2000, 3500, 6100])
def test_a_disk_that_is_full(limit: int, tmp_path: Path, gradviz: Gradviz) -> None:
    """From the record, over an array and a picture, to the list of results."""
    folder = photos(tmp_path / "photos", 5, size=(20, 20))
    words = ["saliency", script(tmp_path / "model.ts"), folder, "--batch-size", "2"]
    out = tmp_path / "out"
    done = process(*words, "-o", out, before=FULL.format(limit=limit))
    assert done.returncode == 2, done.stderr
    assert str(out) in one_error(done.stderr)
    assert not [*out.rglob("*.part")]
    assert all(path.suffix not in (".npy", ".png") or whole(path) for path in out.rglob("*.*"))
    assert gradviz(*words, "-o", out, "--resume").exit_code == 0
    assert gradviz(*words, "-o", tmp_path / "whole").exit_code == 0
    assert contents(out) == contents(tmp_path / "whole")


def whole(path: Path) -> bool:
    if path.is_file():
        np.load(path) if path.suffix == ".npy" else Image.open(path).load()
    return True
