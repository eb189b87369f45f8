"""docs/guide/methods.md: every example runs, and its tables say what the code does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz
from gradviz.backward import rules
from gradviz.backward.activations import ACTIVATIONS, BOUNDED
from gradviz.backward.methods import METHODS
from gradviz.backward.relevance.hand_back import hand_back
from gradviz.commands.saliency.settings import Settings
from gradviz.errors import ModelError, UsageError
from gradviz.seeds.losses import LOSSES
from tools.run_docs import PICTURES, REMEDY, Page

PAGE = Page("docs/guide/methods.md")

RunPage = Callable[[str], tuple[Path, list[str]]]

K, S = 2, 5
"""Seeds and samples, for counting passes."""


def table(first: str) -> list[list[list[str]]]:
    """The table whose first header is `first`: row by row, what stands in backticks in each cell,
    or the cell's words where nothing does."""
    lines = iter(PAGE.text.splitlines())
    next(line for line in lines if line.startswith(f"| {first} |"))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        rows.append([re.findall(r"`([^`]+)`", cell) or [cell] for cell in cells])
    return rows


def section(name: str) -> str:
    return PAGE.text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def count(formula: str) -> int:
    return int(eval(formula.replace("·", "*"), {"K": K, "S": S}))


def test_every_example_holds_and_every_picture_is_what_it_draws(run_page: RunPage) -> None:
    folder, wrong = run_page("docs/guide/methods.md")
    assert not wrong, "\n".join(wrong)
    assert PAGE.missing(folder) == []
    assert PAGE.stale(folder) == [], REMEDY


def test_pictures_are_its_own() -> None:
    there = {path.name for path in PICTURES.glob("methods_*.png")}
    assert there == PAGE.pictures.keys()


def test_the_table_of_methods() -> None:
    rows = [
        (name, points, rule, read_at, writes)
        for name, points, rule, read_at, writes, *_ in table("method")
    ]
    assert rows == [
        (
            [method.name],
            [method.points],
            [each.rule for each in method.passes],
            [each.read_at for each in method.passes],
            [f"{method.writes}.npy"],
        )
        for method in METHODS.values()
    ]


class Counted(nn.Module):
    """A small dense network that counts the images that go through it, forth and back."""

    passes: ClassVar[Counter[str]] = Counter()
    """Of all copies: gradviz makes one of a module that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.passes["forward"] += len(x)
        y: Tensor = self.last(torch.relu(self.first(x)))
        if y.requires_grad:
            y.register_hook(lambda v: self.passes.update(backward=len(v)))  # type: ignore[no-untyped-call]
        return y


@pytest.mark.parametrize("row", table("method"), ids=lambda row: row[0][0])
def test_the_passes_of_every_method(row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,), *_, (forward,), (backward,) = row
    Counted.passes.clear()

    def counted(y: Tensor, *given: Any) -> Any:
        Counted.passes.update(backward=len(y))
        return hand_back(y, *given)

    monkeypatch.setattr(rules, "hand_back", counted)  # which no hook of a tensor notices
    samples = None if METHODS[name].points == "image" else S
    seeds = [f"channel:{channel}" for channel in range(K)]
    gradviz.saliency(
        Counted(), torch.rand(1, 4, 4), seeds, method=name, samples=samples, batch_size=3
    )
    # Once more forward, as the page says; beside another image if samples share a pass.
    again = 1 if METHODS[name].points == "image" else 2
    assert Counted.passes == {"forward": count(forward) + again, "backward": count(backward)}


@pytest.mark.parametrize("row", table("method"), ids=lambda row: row[0][0])
def test_every_method_has_its_section(row: Any) -> None:
    (name,), *_, (forward,), (backward,) = row
    text = section(name)
    assert f"Cost: `{forward}` forward, `{backward}` backward" in text
    assert re.search(r"^    \S.* = ", text, re.MULTILINE), "no formula"
    (paper,) = re.findall(r"\(([^()]+ \d{4})\)$", METHODS[name].meaning)
    assert f"\nSource: [{paper}](https://" in text
    assert "](../pictures/methods_" in text
    assert f"--method {name}" in text


VALUES: dict[str, Any] = {
    "--samples": 4, "--noise": 0.1, "--random-seed": 1, "--baseline": "mean", "--layer": "conv1"
}  # fmt: skip


def reads(method: str, option: str) -> bool:
    try:
        Settings(method=method, **{option[2:].replace("-", "_"): VALUES[option]})
    except UsageError:
        return False
    return True


def test_the_options_that_a_method_reads() -> None:
    assert {option: names for (option,), names in table("option")} == {
        option: [name for name in METHODS if reads(name, option)] for option in VALUES
    }


FORMS: dict[str, Any] = {
    "threshold": lambda x: F.threshold(x, 0.1, 0.0),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.2])),
    "softmax": lambda x: F.softmax(x, -1),
    "clamp": lambda x: x.clamp(min=0),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
}
"""Functions that need more than x."""


class Alone(nn.Module):
    """One activation."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (FORMS.get(self.name) or getattr(F, self.name))(x * 1)
        return y


@pytest.mark.parametrize("rule", ["guided", "deconvnet"])
def test_the_activations_that_count(rule: str) -> None:
    (_, counted), (_, others) = table("gated")
    for name in counted:
        (found,) = gradviz.saliency(Alone(name), torch.rand(1, 4, 4), "ones", method=rule)
        assert found.gated == 1, name
    for name in others:
        with pytest.raises(ModelError, match="no activation"):
            gradviz.saliency(Alone(name), torch.rand(1, 4, 4), "ones", method=rule)
    # ReLU6 is a Hardtanh, and Hardtanh itself does not count.
    named = (*(name.replace("_", "") for name in counted), "hardtanh")
    assert [kind for kind in {*ACTIVATIONS, *BOUNDED} if not kind.lower().startswith(named)] == []


def test_the_losses() -> None:
    forms = [form for (form,), *_ in table("seed")]
    assert [re.match(r"loss:(\w+)=", form)[1] for form in forms] == [*LOSSES]  # type: ignore[index]


def test_the_files_of_a_layer() -> None:
    files = {file.partition(".")[0] for (file,), _ in table("file")}
    (found,) = gradviz.saliency(
        Counted(), np.ones((1, 4, 4), np.float32), "ones", method="gradcam", layer="first"
    )
    assert files == {*found.beside, found.method.writes}
