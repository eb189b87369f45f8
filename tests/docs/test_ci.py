"""The script and the workflow of README.md, run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n### In CI\n")[2].partition("\n### ")[0]

Shell = Callable[[str], subprocess.CompletedProcess[str]]


def block(language: str) -> str:
    """The section's only block of a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shell]:
    """A folder with the samples, the baseline and the script, and how to run commands in it."""
    folder = tmp_path_factory.mktemp("ci")
    (folder / "sample_models").mkdir()
    (folder / "sample_images").mkdir()
    for name in ("depth.ts", "depth.yaml"):
        shutil.copy(ROOT / "sample_models" / name, folder / "sample_models")
    for name in ("room_01.png", "room_02.png"):
        shutil.copy(ROOT / "sample_images" / name, folder / "sample_images")
    (folder / "bin").mkdir()
    (folder / "bin/gradviz").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gradviz "$@"\n')
    (folder / "bin/gradviz").chmod(0o755)
    (folder / "gradients.sh").write_text(block("bash"))
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

    (baseline,) = re.findall(r"^\$ (gradviz saliency .* -o baseline .*)$", SECTION, re.MULTILINE)
    done = shell(baseline)
    assert done.returncode == 0, done.stderr
    return folder, shell


def scaled(folder: Path, factor: float) -> str:
    """The depth model with all its weights a little larger, as a training step leaves them."""
    model: Any = torch.jit.load(folder / "sample_models/depth.ts")  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weights in model.parameters():
            weights *= factor
    model.save(str(folder / "sample_models/new.ts"))
    shutil.copy(folder / "sample_models/depth.yaml", folder / "sample_models/new.yaml")
    return "sample_models/new.ts"


def test_the_steps_of_the_workflow_pass(repository: tuple[Path, Shell]) -> None:
    _, shell = repository
    steps = yaml.safe_load(block("yaml"))["jobs"]["gradients"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    install, *rest = commands
    assert install.startswith("pip install ")  # what prepares a computer is not run here
    assert rest
    for command in rest:
        done = shell(command)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


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
