"""An image that is replaced while a run is under way is not drawn over."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from gradviz.commands.saliency import run, write
from gradviz.image.load import LoadedImage, load_image
from tests.helpers.commands import Gradviz
from tests.helpers.formats import script
from tests.helpers.nets import HalfSquare

OPTIONS = {
    "its own scale": [],
    "frame": ["--frame", "image"],
    "shared": ["--scale", "shared"],
    "shared frame": ["--scale", "shared", "--frame", "image"],
}


def photo(path: Path, level: int, size: tuple[int, int]) -> None:
    """Put a picture at a place at once: another thread may be reading the one before."""
    Image.new("RGB", size, (level,) * 3).save("new", "PNG")
    Path("new").replace(path)


def once(function: Callable[..., Any], then: Callable[[], None]) -> Callable[..., Any]:
    """The function, which does something else as well after its first call."""
    calls = count()  # by several threads

    def wrapped(*given: Any, **named: Any) -> Any:
        found = function(*given, **named)
        if next(calls) == 0:
            then()
        return found

    return wrapped


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_an_image_that_is_replaced_fails_and_is_computed_anew(
    gradviz: Gradviz, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    script(HalfSquare(), "model.ts")
    photo(Path("a.png"), 100, (8, 6))
    photo(Path("b.png"), 50, (8, 6))
    command = ["saliency", "model.ts", "*.png", "--seed", "ones", "-o", "out", *options]

    def load_and_replace(*given: Any) -> LoadedImage:
        found = load_image(*given)
        if found.name == "a.png":  # images are read side by side
            photo(Path("a.png"), 200, (5, 9))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(run, "load_image", load_and_replace)
        found = gradviz(*command)
    assert found.exit_code == 4, found.stderr
    assert "a.png: was replaced while the run was under way" in found.stderr
    lines = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["error", "ok"]
    assert not list(Path("out/a.png").rglob("*.png"))
    again = gradviz(*command, "--resume")
    assert again.exit_code == 0, again.stderr
    assert np.load("out/a.png/ones/gradient.npy") == pytest.approx(200 / 255)
    assert np.load("out/a.png/ones/gradient.npy").shape == (3, 9, 5)


def test_an_image_that_is_replaced_before_the_common_scale_is_drawn(
    gradviz: Gradviz, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(HalfSquare(), "model.ts")
    photo(Path("a.png"), 100, (8, 6))
    photo(Path("b.png"), 50, (8, 6))
    line = write.ResultWriter.line
    replaced = once(line, lambda: photo(Path("a.png"), 200, (5, 9)))
    monkeypatch.setattr(write.ResultWriter, "line", lambda *given: replaced(*given))
    found = gradviz("saliency", "model.ts", "*.png", "--scale", "shared", "-o", "out")
    lines = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["error", "ok"]
    assert "was replaced" in lines[0]["error"]["message"]
    assert found.exit_code in (0, 4)


def test_an_image_that_is_gone_after_it_was_read_is_done(
    gradviz: Gradviz, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(HalfSquare(), "model.ts")
    photo(Path("a.png"), 100, (8, 6))
    reading = once(load_image, lambda: Path("a.png").unlink())
    monkeypatch.setattr(run, "load_image", reading)
    assert gradviz("saliency", "model.ts", "a.png", "-o", "out").exit_code == 0


def test_a_mask_that_is_replaced_is_not_measured_in(
    gradviz: Gradviz, monkeypatch: pytest.MonkeyPatch
) -> None:
    """run.json has the digest of the mask that was there when the run began."""
    script(HalfSquare(), "model.ts")
    for name in ("a.png", "b.png"):
        photo(Path(name), 100, (8, 6))
    photo(Path("mask.gif"), 255, (8, 6))
    line = write.ResultWriter.line
    replaced = once(line, lambda: photo(Path("mask.gif"), 0, (8, 6)))
    monkeypatch.setattr(write.ResultWriter, "line", lambda *given: replaced(*given))
    monkeypatch.setattr("gradviz.runs.workers.THREADS", 1)
    command = ["saliency", "model.ts", "a.png", "b.png", "--seed", "ones", "--inside", "mask.gif"]
    found = gradviz(*command, "-o", "out", "--batch-size", "1")
    lines = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "error"], found.stderr
    assert lines[0]["stats"]["inside"] == 1
    assert lines[1]["error"]["message"].startswith("mask.gif: was replaced while the run was")


class Product(nn.Module):
    """The product of two pictures."""

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return x * z


def test_a_picture_of_another_input_that_is_replaced_is_not_drawn_over(
    gradviz: Gradviz, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(Product(), "model.ts")
    for name in ("a.png", "over.gif"):
        photo(Path(name), 100, (8, 6))
    reading = once(load_image, lambda: photo(Path("over.gif"), 200, (8, 6)))
    monkeypatch.setattr(run, "load_image", reading)
    command = ["saliency", "model.ts", "a.png", "--input", "z=over.gif"]
    found = gradviz(*command, "--wrt", "z", "--frame", "image", "-o", "out")
    assert found.exit_code != 0
    assert "over.gif: was replaced while the run was under way; run it again" in found.stderr


def test_an_image_that_is_replaced_before_its_field_is_measured(
    gradviz: Gradviz, monkeypatch: pytest.MonkeyPatch
) -> None:
    """run.json says which image it was, and report finds it by that."""
    script(HalfSquare(), "model.ts")
    for name in ("a.png", "b.png"):
        photo(Path(name), 100, (8, 6))
    reading = once(load_image, lambda: photo(Path("b.png"), 200, (8, 6)))
    monkeypatch.setattr("gradviz.commands.receptive_field.run.load_image", reading)
    found = gradviz("receptive-field", "model.ts", "*.png", "-o", "out")
    assert found.exit_code == 4, found.stderr
    assert "b.png: was replaced while the run was under way; run it again" in found.stderr
    assert [path.name for path in Path("out").glob("*.png")] == ["a.png"]
