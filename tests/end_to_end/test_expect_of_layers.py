"""`--expect` of `inspect`, and on the quantities of single fields, on networks that are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import Result

from gradviz.errors import ExitCode
from tests.helpers.commands import Gradviz, errors, failed
from tests.helpers.formats import script

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.beside = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1)
        self.relu = nn.ReLU()
        for each, bias in ((self.first, [1.0, 1.0, 1.0, -99.0]), (self.beside, [1.0, 1.0])):
            nn.init.ones_(each.weight)
            each.bias.data = torch.tensor(bias)

    def forward(self, x):
        self.beside(x.detach()).sum()
        return self.relu(self.first(x)) / {divisor}
"""
"""One of four channels is dead, and one layer has no gradient."""


@pytest.fixture
def photo(gradviz: Gradviz, tmp_path: Path) -> str:
    Image.new("RGB", (6, 5), (90, 80, 70)).save("photo.png")
    torch.save({}, "weights.pt")
    Path("net.py").write_text(NET.format(divisor="1"))
    Path("broken.py").write_text(NET.format(divisor="0"))
    return "photo.png"


def inspect(gradviz: Gradviz, photo: str, expected: str, module: str = "net.py") -> Result:
    torch.save(weights(), "weights.pt")
    words = ["inspect", "weights.pt", photo, "--arch", f"{module}:Net", "--seed", "ones", "-q"]
    return gradviz(*words, "--expect", expected)


def weights() -> dict[str, torch.Tensor]:
    return {
        "first.weight": torch.ones(4, 3, 1, 1),
        "first.bias": torch.tensor([1.0, 1.0, 1.0, -99.0]),
        "beside.weight": torch.ones(2, 3, 1, 1),
        "beside.bias": torch.ones(2),
    }


@pytest.mark.parametrize(
    ("expected", "measured"),
    [
        ("unreached==1", None),
        ("unreached==0", "1"),
        ("dead<=0.25", None),
        ("dead<=0.2", "0.25"),
        ("nonfinite==0", None),
        ("warnings==0", "1"),
    ],
)
def test_inspect(gradviz: Gradviz, photo: str, expected: str, measured: str | None) -> None:
    result = inspect(gradviz, photo, expected)
    if measured is None:
        assert result.exit_code == ExitCode.DONE, result.stderr
    else:
        failed(result, 6, f"expected {expected}, measured {measured}")


def test_layers_that_are_not_finite(gradviz: Gradviz, photo: str) -> None:
    result = inspect(gradviz, photo, "nonfinite==0", "broken.py")
    assert result.exit_code == 6


def test_an_unknown_quantity(gradviz: Gradviz, photo: str) -> None:
    failed(inspect(gradviz, photo, "size==0"), 2, "there is no size", "unreached")


@pytest.mark.parametrize(
    ("code", "expected", "measured"),
    [
        ("x.sum(1, keepdim=True)", "squares==1", None),
        ("x.sum(1, keepdim=True)", "sigma==0", None),
        ("x.sum(1, keepdim=True)", "sigma>0", "0"),
        ("x.sum(1, keepdim=True)", "partial==0", None),
        ("x + torch.roll(x, [1], [3])", "squares==1", "3"),
        ("torch.sqrt(x * 0 - 1)", "nonfinite==0", ""),
        ("x.sort(3)[0]", "partial==0", "1"),
    ],
)
def test_fields(gradviz: Gradviz, code: str, expected: str, measured: str | None) -> None:
    script(code, "model.ts")
    result = gradviz("receptive-field", "model.ts", "--expect", expected, "-q")
    if measured is None:
        assert result.exit_code == 0, result.stderr
    else:
        assert result.exit_code == 6
        assert errors(result)[-1].startswith(
            f"error: --expect: expected {expected}, measured {measured}"
        )
