"""docs/guide/ci.md: every example runs, and its script stops what it is meant to stop."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tools.run_docs import ROOT, Page

PAGE = Page("docs/guide/ci.md")

RunPage = Callable[[str], tuple[Path, list[str]]]
Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def repository(run_page: RunPage) -> tuple[Path, Shell]:
    """The folder in which the page was run, and how to run commands in it."""
    folder, wrong = run_page("docs/guide/ci.md")
    assert not wrong, "\n".join(wrong)
    (folder / "bin").mkdir()
    (folder / "bin/gradviz").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gradviz "$@"\n')
    (folder / "bin/gradviz").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }

    def shell(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return folder, shell


def scaled(folder: Path, factor: float) -> str:
    """The depth model with all its weights a little larger, as a training step leaves them."""
    model: Any = torch.jit.load(folder / "sample_models/depth.ts")  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weights in model.parameters():
            weights *= factor
    model.save(str(folder / "new.ts"))
    shutil.copy(folder / "sample_models/depth.yaml", folder / "new.yaml")
    return "new.ts"


def test_the_workflow_runs_the_commands_of_the_page(repository: tuple[Path, Shell]) -> None:
    folder, _ = repository
    steps = yaml.safe_load((folder / ".github/workflows/gradients.yaml").read_text())["jobs"][
        "gradients"
    ]["steps"]
    install, *rest = (step["run"] for step in steps if "run" in step)
    assert install.startswith("pip install ")  # what prepares a computer is not run here
    run = {command.line for command in PAGE.commands}
    assert rest
    assert {*rest} <= run


def test_other_weights_are_stopped(repository: tuple[Path, Shell]) -> None:
    folder, shell = repository
    done = shell(f"bash gradients.sh {scaled(folder, 1.01)}")
    assert done.returncode == 6
    assert "warning: the runs were made differently: model.sha256 was " in done.stderr
    assert "error: 4 of 4 differ" in done.stderr
    assert len([*(folder / "gate/differences").rglob("gradient.png")]) == 4


def test_a_network_that_sees_too_little_is_stopped_first(repository: tuple[Path, Shell]) -> None:
    folder, shell = repository
    near: Any = torch.jit.script(torch.nn.Conv2d(3, 1, 5, padding=2))
    near.save(str(folder / "near.ts"))
    shutil.rmtree(folder / "gate", ignore_errors=True)
    done = shell("bash gradients.sh near.ts")
    assert done.returncode == 6
    assert done.stderr == "error: --expect: expected size>=97, measured 5\n"
    assert not (folder / "gate/gradients").exists()
