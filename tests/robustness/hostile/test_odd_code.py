"""Models whose code raises, returns or closes what no model should: one line, never exit code 1."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import Result

from gradviz.image.load import load_image
from tests.helpers import odd_models
from tests.helpers.formats import script
from tests.helpers.processes import gradviz as process
from tests.helpers.processes import photos

Gradviz = Callable[..., Result]

RUNS = {
    *("subclass", "shared", "sharedd", "deep", "selfref", "dbl", "half", "bf16", "nan", "inf"),
    *("scalar", "expand", "inplace", "threads", "grad_off", "setdef", "badname", "badto"),
    *("lazy", "lazylin", "sparsew", "quantb", "f8b", "conj", "dim65", "badgetattr", "badmods"),
    *("badcopy", "badeval", "bwexit", "bwmute", "metaw", "metab", "nestedb", "badstate"),
}
"""Those that may work, or fail like a usual model; of the others it is known that they fail."""
INTERRUPTS = {"kbd"}


@pytest.fixture(autouse=True)
def settings_of_torch() -> Iterator[None]:
    yield
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


@pytest.mark.filterwarnings("ignore")  # torch says that some of this is new
@pytest.mark.parametrize("name", odd_models.NAMES)
def test_an_odd_model(name: str, gradviz: Gradviz) -> None:
    np.save("a.npy", np.ones((3, 6, 5), np.float32))
    torch.save({"w": torch.ones(1)}, "w.pt")
    model = ["w.pt", "--arch", f"{odd_models.__file__}:{name}"]
    commands: tuple[list[str], ...] = (
        ["saliency", *model, "a.npy", "-q"],
        ["inspect", *model],
        ["inspect", *model, "a.npy"],
        ["check", *model, "a.npy"],
        ["receptive-field", *model, "-o", "noise"],
        ["receptive-field", *model, "a.npy", "--layers", "--map", "-o", "field"],
    )
    for words in commands:
        result = gradviz(*words)
        code = result.exit_code
        errors = [row for row in result.stderr.splitlines() if row.startswith("error: ")]
        if name in INTERRUPTS:
            assert code == 130
        elif name in RUNS:
            assert code in (0, 2, 3, 6), result.stderr
        else:
            assert code in (2, 3), result.stderr
        assert len(errors) == (code != 0), (words, result.stderr)
        assert all(len(row) < 2000 and row.isprintable() for row in result.stderr.splitlines())


@pytest.mark.parametrize(
    ("command", "code"),
    [
        *(("saliency", code) for code in ("os.closerange(2, 3)", "sys.stderr = None")),
        *((name, "sys.stderr.close()") for name in ("receptive-field", "check", "inspect")),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
def test_a_model_that_closes_stderr(command: str, code: str, fails: bool, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import os, sys\nfrom torch import nn\nclass Net(nn.Conv2d):\n"
        f"    def forward(self, x):\n        {code}\n"
        f"        {'raise OSError' if fails else 'return super().forward(x)'}\n"
        "def net():\n    return Net(3, 1, 1)\n"
    )
    torch.save(torch.nn.Conv2d(3, 1, 1).state_dict(), tmp_path / "w.pt")
    photo = photos(tmp_path / "in", 1) / "0000.png"
    done = process(command, "w.pt", photo, "--arch", "net.py:net", cwd=tmp_path)
    assert done.returncode == (3 if fails else 0), done
    assert bool(done.stdout) != fails
    assert done.stderr.count("error: ") == fails and "Traceback" not in done.stderr


def lines() -> list[dict[str, Any]]:
    return [json.loads(row) for row in Path("gradviz-out/results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("place", ["gradviz.image.load.prepare", "gradviz.image.load.read_image"])
@pytest.mark.parametrize(("count", "code"), [(3, 4), (1, 3)])
def test_an_image_that_is_too_large_for_memory(
    place: str,
    count: int,
    code: int,
    gradviz: Gradviz,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos(tmp_path / "in", count)
    last = f"{count - 1:04}.png"
    original = getattr(__import__(load_image.__module__, fromlist=["x"]), place.rpartition(".")[2])

    def short(picture: Any, *rest: Any, **named: Any) -> Any:
        if Path(getattr(picture, "path", picture)).name == last:
            raise MemoryError
        return original(picture, *rest, **named)

    monkeypatch.setattr(place, short)
    result = gradviz("saliency", script("x * x / 2", tmp_path / "m.ts"), "in", "--batch-size", "1")
    assert result.exit_code == code, result.stderr
    assert [line["status"] for line in lines()] == ["ok"] * (count - 1) + ["error"]
    assert lines()[-1]["error"]["type"] == "MemoryShort" and last in result.stderr


def test_a_batch_that_is_too_large_for_memory(
    gradviz: Gradviz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is tried again in halves."""
    photos(tmp_path / "in", 4)
    stack = torch.stack

    def short(tensors: Any, *rest: Any) -> Any:
        if len(tensors) > 1:
            raise RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory")
        return stack(tensors, *rest)

    monkeypatch.setattr(torch, "stack", short)
    result = gradviz("saliency", script("x * x / 2", tmp_path / "m.ts"), "in", "--batch-size", "4")
    assert result.exit_code == 0, result.stderr


def test_no_temporary_folder(gradviz: Gradviz, tmp_path: Path) -> None:
    Path("net.py").write_text(
        "from torch import nn\nclass Net(nn.Conv2d):\n    def forward(self, x):\n"
        "        raise FileNotFoundError(2, 'No usable temporary directory found in []')\n"
        "def net():\n    return Net(3, 1, 1)\n"
    )
    torch.save(torch.nn.Conv2d(3, 1, 1).state_dict(), "w.pt")
    result = gradviz("receptive-field", "w.pt", "--arch", "net.py:net")
    assert result.exit_code == 2 and "TMPDIR" in result.stderr
    assert result.stderr.count("\n") == 1
