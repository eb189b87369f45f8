"""How far a run of many points is: the count, and the lines where there is no terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

import gradviz as package
from gradviz.cli import steps
from gradviz.cli.steps import Steps
from gradviz.commands.saliency.run import Job, SaliencyRun
from gradviz.commands.saliency.settings import Settings
from gradviz.image.find import find_images
from gradviz.image.preprocess import Preprocess
from gradviz.runs.resume import RunWriter
from gradviz.seeds.seed import parse_seed
from tests.helpers.commands import Gradviz


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as its only item, in seconds."""
    now = [100.0]
    monkeypatch.setattr(steps, "monotonic", lambda: now[0])
    return now


def test_points_of_an_image_that_needs_fewer_count_when_the_next_begins() -> None:
    count = Steps(items=3, points=256)
    counted = []
    for done in (64, 80, 64, 256, 64, 128):
        count.count_points(done)
        counted.append(count.done)
    assert counted == [64, 80, 256 + 64, 512, 512 + 64, 512 + 128]
    for _ in range(3):  # written, and handed on, long after they were computed
        count.end_item()
    assert count.done == 768


def test_kept_and_failed_items_count_at_once() -> None:
    count = Steps(items=4, points=10)
    count.end_item()
    count.end_item()
    assert count.done == 20
    count.count_points(5)
    assert count.done == 25
    count.end_item()  # it took no more
    count.end_item()  # this one failed
    assert count.done == 40


def test_a_line_every_ten_seconds_with_the_time_to_go(clock: list[float]) -> None:
    count = Steps(items=2, points=100)
    lines = []
    for second in range(0, 40, 4):
        clock[0] = 100.0 + second
        count.count_points(second)
        lines.append(count.due())
    assert [line is not None for line in lines] == [n in (3, 6, 9) for n in range(10)]
    assert lines[3] == "12 of 200 points, 0:03:08 to go"  # a point a second


def test_nothing_is_told_of_items_without_points(clock: list[float]) -> None:
    count = Steps(items=9, points=1)
    clock[0] += 1000
    count.end_item()
    assert count.due() is None


def test_a_pipe_gets_lines(
    gradviz: Gradviz, models: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "EVERY", 0.0)
    command = ["saliency", models / "shapes.yaml", images / "shapes_01.png", "--samples", "24"]
    several = gradviz(*command, "--method", "smoothgrad")
    told = [line for line in several.stderr.splitlines() if " points, " in line]
    assert [line.partition(" points, ")[0] for line in told] == [
        f"saliency: {n} of 24" for n in (8, 16, 24, 24)
    ]
    quiet = gradviz(*command, "--method", "smoothgrad", "--overwrite", "-q")
    assert quiet.stderr == ""
    one = gradviz("saliency", models / "shapes.yaml", images / "shapes_01.png", "-o", "one")
    assert "points" not in one.stderr


def test_a_pipe_gets_the_steps_of_fields(
    gradviz: Gradviz, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words, and the samples of the effective field by number."""
    monkeypatch.setattr("gradviz.cli.console.EVERY", 0.0)
    command = ["receptive-field", models / "depth.yaml", "--samples", "2", "--input-size", "128x96"]
    told = gradviz(*command, "--layers").stderr.splitlines()
    steps_told = [line for line in told if line.startswith("receptive-field: ")]
    assert steps_told[:2] == [
        "receptive-field: the geometry along x",
        "receptive-field: the geometry along y",
    ]
    assert steps_told[2:4] == [
        f"receptive-field: noise: the effective field, {n} of 2" for n in (1, 2)
    ]
    assert gradviz(*command, "--overwrite", "-q").stderr == ""


def test_an_interruption_keeps_the_images_that_are_finished(tmp_path: Path) -> None:
    """Also those that share a batch with the image in hand, and those that wait to be written."""

    class Interrupted(nn.Module):
        gradients = 0

        def forward(self, x: Tensor) -> Tensor:
            Interrupted.gradients += x.requires_grad
            if Interrupted.gradients > 7:
                raise KeyboardInterrupt
            return x.sum((2, 3))

    for n in range(6):
        np.save(tmp_path / f"{n}.npy", np.full((1, 4, 4), n + 1, np.float32))
    sources = find_images([str(tmp_path / "*.npy")], None).sources
    settings = Settings(("class:0",), "integrated-gradients", samples=16, optimize=False)
    model = package.wrap(Interrupted())
    job = Job(model, sources, Preprocess(), [parse_seed("class:0")], settings)

    def lines() -> Iterator[str]:
        folder = RunWriter(tmp_path / "out")
        with folder.held(overwrite=False, resume=False), SaliencyRun(job, folder) as run:
            yield from (line.image for line in run)

    with pytest.raises(KeyboardInterrupt):
        list(lines())
    results = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    # Two passes of eight points for each image: the eighth pass is the fourth image's second.
    assert [json.loads(line)["image"] for line in results] == ["0.npy", "1.npy", "2.npy"]
    for n in range(3):
        found = np.load(tmp_path / "out" / f"{n}.npy" / "class-0" / "attribution.npy")
        assert found == pytest.approx(n + 1)
