"""What every hostile file must come to: its exit code, one line, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.helpers import victim
from tests.helpers.commands import Gradviz
from tests.helpers.formats import save

Fails = Callable[..., str]

RECORD = {"gradviz-out"} | {
    f"gradviz-out/{name}" for name in ("run.json", "environment.json", "results.jsonl")
}
"""All that a run without results may write."""


@pytest.fixture(scope="session")
def net() -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = victim.Victim().eval()
    return made


@pytest.fixture(scope="session")
def healthy(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every format, and a photo."""
    folder = tmp_path_factory.mktemp("healthy")
    save(net, torch.rand(1, 3, 4, 5), folder, *victim.KINDS)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def saliency(gradviz: Gradviz) -> Gradviz:
    """`gradviz saliency`, quiet, with the cheapest pictures."""
    return lambda *words: gradviz("saliency", *words, "-q", "--view", "gray", "--array", "none")


@pytest.fixture
def fails(saliency: Gradviz, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Fails:
    """Run `gradviz saliency WORDS...`, which must fail with `code` and in one line; returns that.

    Nothing may be written but the record, nor be said past Python.
    """

    def run(code: int, *words: str | Path) -> str:
        before = listing(tmp_path)
        result = saliency(*words)
        assert result.exit_code == code, (result.exit_code, result.stderr)
        (said,) = result.stderr.splitlines()
        assert said.startswith("error: ") and result.stdout == ""
        assert listing(tmp_path) - before <= RECORD
        assert capfd.readouterr().err == ""
        return said

    return run
