"""The command line in this process, and what a run left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

Gradviz = Callable[..., Result]
"""Runs `gradviz ARGUMENTS...`: the fixture of this name."""

OUT = Path("gradviz-out")


def errors(result: Result | CompletedProcess[str]) -> list[str]:
    """The lines of errors on stderr."""
    assert "Traceback" not in result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


def statuses(out: str | Path = OUT) -> dict[str, str]:
    """The status of each image of a run."""
    return {line["image"]: line["status"] for line in lines(out)}


def failed(result: Result, code: int, *parts: str) -> None:
    """Check that the command failed with `code` and one line that holds all of `parts`."""
    found = errors(result)
    assert len(found) == 1, result.stderr
    missing = [part for part in parts if part not in found[0]]
    assert not missing, found[0]
    assert result.exit_code == code, found[0]


def strict(text: str) -> Any:
    """The value of a JSON text, in which every number is finite."""
    return json.loads(text, parse_constant=pytest.fail)


def document(result: Result) -> dict[str, Any]:
    """The JSON document that a command printed."""
    found: dict[str, Any] = strict(result.stdout)
    return found


def lines(out: str | Path = OUT) -> list[dict[str, Any]]:
    """The lines of a run's results.jsonl."""
    return [strict(line) for line in Path(out, "results.jsonl").read_text("utf-8").splitlines()]


def line(out: str | Path = OUT) -> dict[str, Any]:
    """The only line of a run's results.jsonl."""
    (only,) = lines(out)
    return only


def gradient(image: str, seed: str = "ones", out: str | Path = OUT) -> np.ndarray:
    """The gradient [C, H, W] that a run saved."""
    array: np.ndarray = np.load(Path(out, image, seed, "gradient.npy"))
    return array


def contents(out: str | Path = OUT) -> dict[str, bytes]:
    """Every array and picture of a run, by its path in the folder."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(Path(out).rglob("*"))
        if path.suffix in (".npy", ".png") and path.is_file()
    }
