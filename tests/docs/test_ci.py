"""docs/guide/ci.md: every example runs, and its script stops what it is meant to stop."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
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


# The gate for many models


UNSEEN = "        full = self.up1(torch.cat([self.enlarge(half), full], 1))"
DETACHED = UNSEEN.replace("self.enlarge(half)", "self.enlarge(half).detach()")


CHANGED_STRIDE = """

def finer(part):
    part[0].stride = (1, 1)
    return part
"""


@pytest.fixture
def models(repository: tuple[Path, Shell]) -> Iterator[Path]:
    """The models that the gate takes, to be broken; they are right again after each test."""
    folder, _ = repository
    right = folder / "right"
    shutil.copytree(folder / "models", right)
    yield folder / "models"
    shutil.rmtree(folder / "models")
    right.rename(folder / "models")


def weights_of_shapes(models: Path, change: Callable[[torch.Tensor], object]) -> None:
    content = torch.load(models / "shapes.pt", weights_only=True)
    change(next(iter(content["state_dict"].values())))
    torch.save(content, models / "shapes.pt")


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def errors_by_run(stderr: str) -> dict[str, str]:
    """The errors of the gate's comparisons, by model."""
    lines = [line for line in stderr.splitlines() if "; see verdict/" in line]
    return {re.search(r"see verdict/differences/(\S+),", line)[1]: line for line in lines}  # type: ignore[index]


def test_the_script_of_the_gate_is_short() -> None:
    (script,) = re.findall(r"```bash\n# gate\.sh\n(.*?)```", PAGE.text, re.DOTALL)
    assert len(script.splitlines()) < 40


def test_the_gate_is_silent_while_all_is_right(
    repository: tuple[Path, Shell], models: Path
) -> None:
    _, shell = repository
    done = shell("bash gate.sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_gate_names_every_break_and_its_cause(
    repository: tuple[Path, Shell], models: Path
) -> None:
    folder, shell = repository
    replace(models / "architectures.py", UNSEEN, DETACHED)
    replace(models / "architectures.py", "halved(two, four),", "finer(halved(two, four)),")
    with (models / "architectures.py").open("a") as file:
        file.write(CHANGED_STRIDE)
    replace(models / "vit.yaml", "mean: [0.5, 0.5, 0.5]", "mean: [0.4, 0.5, 0.5]")
    weights_of_shapes(models, lambda weights: weights.view(-1)[0].fill_(math.nan))
    done = shell("bash gate.sh")
    assert (done.returncode, done.stdout) == (6, ""), done.stderr
    causes = {
        "fields/depth.yaml": "files (architectures.py was ",
        "gradients/depth.yaml": "files (architectures.py was ",
        "gradients/boxes.yaml": "files (architectures.py was ",
        "gradients/vit.yaml": "preprocessing (mean was [0.5, 0.5, 0.5], is [0.4, 0.5, 0.5])",
        "gradients/shapes.yaml": "weights (sha256 was ",
    }
    errors = errors_by_run(done.stderr)
    assert errors.keys() == causes.keys()
    for run, cause in causes.items():
        assert cause in errors[run]
    assert "are NaN or Inf in one run and not the other" in errors["gradients/shapes.yaml"]
    assert "(pixel:64,64): status was exact, is partial" in errors["fields/depth.yaml"]
    assert "expected nonfinite==0" in done.stderr
    assert "models/depth.yaml: ones: 7 of 7 tests failed" in done.stderr
    page = (folder / "verdict/report.html").read_text()
    assert all(f"verdict/differences/{run}" in page for run in causes)


def test_the_gate_names_the_model_whose_weights_are_others(
    repository: tuple[Path, Shell], models: Path
) -> None:
    folder, shell = repository
    weights_of_shapes(models, lambda weights: weights.mul_(-1))
    (models / "depth.yaml").rename(models / "depths.yaml")
    done = shell("sed -i s/depth.yaml/depths.yaml/ gate.sh; bash gate.sh")
    assert done.returncode == 2
    (error,) = errors_by_run(done.stderr).values()
    assert "gradients/shapes.yaml" in error and "the runs differ in weights (sha256 was " in error
    for lacking in ("baselines/gradients/depths.yaml", "verdict/now/gradients/depth.yaml"):
        assert f"error: {lacking}: holds no run.json" in done.stderr
    assert "verdict/differences/gradients/vit.yaml" in (folder / "verdict/report.html").read_text()
