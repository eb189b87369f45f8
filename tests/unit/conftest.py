"""Unit tests run in this process."""

from __future__ import annotations

import subprocess

import pytest


@pytest.fixture(autouse=True)
def no_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that starts a process and is not marked so: `make quick` leaves those out."""
    if request.node.get_closest_marker("process") is None:
        monkeypatch.setattr(subprocess.Popen, "__init__", pytest.fail)
