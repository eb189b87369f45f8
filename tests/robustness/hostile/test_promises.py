"""SECURITY.md says what holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import Result

from gradviz.files import ALLOWED, RATIO
from gradviz.image.read import DEFAULT_MAX_PIXELS
from gradviz.model.load import load_model
from tests.helpers.formats import script
from tests.helpers.paths import ROOT

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_its_numbers_are_the_codes() -> None:
    text = " ".join(PAGE.split())
    assert (
        f"More than {RATIO} times the file's own size, and more than {ALLOWED // 10**6} MB" in text
    )
    assert f"`--max-pixels` ({DEFAULT_MAX_PIXELS // 10**6} million)" in text


def test_the_readme_leads_to_it() -> None:
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


class Saves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "written")
        return x * 2


def test_torchscript_is_code(
    healthy: Path, saliency: Callable[..., Result], tmp_path: Path
) -> None:
    """It writes a file when it is called, and not before."""
    load_model(script(Saves(), "saves.ts"))
    assert not Path("written").exists()
    saliency("saves.ts", healthy / "photo.png")
    assert Path("written").exists()


def test_no_network(
    healthy: Path, saliency: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket", pytest.fail)
    assert saliency(healthy / "scripted.ts", healthy / "photo.png").exit_code == 0
