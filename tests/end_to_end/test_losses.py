"""The loss of `loss:` seeds: in results, rows, the page and expectations; targets in folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import gradviz
from gradviz.commands.report.inputs import read_input
from gradviz.commands.report.page import report
from gradviz.commands.saliency import run
from gradviz.image.load import LoadedImage, load_image
from tests.helpers.commands import Gradviz, document, errors, failed, gradient, lines
from tests.helpers.formats import script

MODEL = "(x * x).sum(1)"


@pytest.fixture
def photos(gradviz: Gradviz) -> list[str]:
    """Two photos of 140×130 below photos/, with a target each below targets/."""
    random = np.random.default_rng(0)
    names = ["a.png", "deep/b.png"]
    for name in names:
        target = Path("targets", name).with_suffix(".npy")
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        levels = random.integers(0, 256, (130, 140, 3), np.uint8)
        Image.fromarray(levels).save(Path("photos", name))
        np.save(target, random.random((130, 140), np.float32))
    script(MODEL, "model.ts")
    return names


def by_torch(name: str, loss: str) -> tuple[float, np.ndarray]:
    """The loss of a photo, and its gradient, by torch alone in float64."""
    pixels = np.asarray(Image.open(Path("photos", name)), np.float64).transpose(2, 0, 1) / 255
    x = torch.from_numpy(pixels).requires_grad_()
    target = torch.from_numpy(np.load(Path("targets", name).with_suffix(".npy"))).double()
    value = getattr(F, loss)((x * x).sum(0), target)
    value.backward()
    assert x.grad is not None
    return value.item(), x.grad.numpy()


@pytest.mark.parametrize(
    "options", [[], ["--tile", "32"], ["--method", "smoothgrad", "--samples", "2"]]
)
def test_the_loss_of_each_photo_against_its_own_target(
    gradviz: Gradviz, photos: list[str], options: list[str]
) -> None:
    result = gradviz("saliency", "model.ts", "photos", "--seed", "loss:mse=targets", *options)
    assert result.exit_code == 0, result.stderr
    for line, row, name in zip(lines(), result.stdout.splitlines(), photos, strict=True):
        value, slope = by_torch(name, "mse_loss")
        assert line["image"] == name and line["loss"] == pytest.approx(value, rel=1e-6)
        assert float(row.rpartition("\tloss ")[2]) == pytest.approx(value, rel=1e-5)
        if "smoothgrad" not in options:
            found = gradient(name, "loss-mse-targets")
            np.testing.assert_allclose(found, slope, atol=1e-6 * np.abs(slope).max())
    record = json.loads(Path("gradviz-out/run.json").read_text())
    assert [*record["files"]] == ["targets/a.npy", "targets/deep/b.npy"]
    page = report([read_input("gradviz-out")], images=True).html
    assert f'"loss": {lines()[0]["loss"]!r}' in page


def test_shards_and_resumed_runs_have_the_loss(gradviz: Gradviz, photos: list[str]) -> None:
    given = ("saliency", "model.ts", "photos", "--seed", "loss:l1=targets", "--batch-size", 1)
    for shard in ("1/2", "2/2"):
        assert gradviz(*given, "--shard", shard).exit_code == 0
    for place, name in enumerate(photos, 1):
        (line,) = [
            json.loads(row)
            for row in Path(f"gradviz-out/results.{place}-of-2.jsonl").read_text().splitlines()
        ]
        assert line["loss"] == pytest.approx(by_torch(name, "l1_loss")[0], rel=1e-6)
    result = gradviz(*given, "--shard", "1/2", "--resume", "--expect", "loss<1e-9", "--json")
    assert result.exit_code == 6
    (kept,) = document(result)["results"]
    assert kept["loss"] == pytest.approx(by_torch("a.png", "l1_loss")[0], rel=1e-6)


def test_an_expectation_holds_the_loss(gradviz: Gradviz, photos: list[str]) -> None:
    low, high = sorted(by_torch(name, "mse_loss")[0] for name in photos)
    seeds = ("--seed", "loss:mse=targets", "--seed", "ones")
    given = ("saliency", "model.ts", "photos", *seeds, "--overwrite", "--expect")
    assert gradviz(*given, f"loss<{high + 1e-3}").exit_code == 0
    result = gradviz(*given, f"loss<={(low + high) / 2}")
    assert result.exit_code == 6
    (error,) = errors(result)
    assert "(loss:mse=targets): expected loss<=" in error


def test_the_loss_from_python(photos: list[str], images: Path) -> None:
    model = gradviz.load_model("model.ts", device="cpu")
    found = gradviz.saliency(model, ["photos/a.png"], "loss:mse=targets")[0]
    assert found.loss == pytest.approx(by_torch("a.png", "mse_loss")[0], rel=1e-6)
    assert gradviz.saliency(model, ["photos/a.png"], "ones")[0].loss is None


def test_check_and_inspect_take_a_folder_of_targets(gradviz: Gradviz, photos: list[str]) -> None:
    seed = ("--seed", "loss:mse=targets")
    assert gradviz("check", "model.ts", "photos/a.png", *seed).exit_code == 0
    assert gradviz("inspect", "model.ts", "photos/a.png", *seed).exit_code == 0
    failed(gradviz("inspect", "model.ts", *seed), 2, "no target for random")


# What is refused ----------------------------------------------------------------------------------


def test_a_photo_without_a_target_is_named_before_the_run(
    gradviz: Gradviz, photos: list[str]
) -> None:
    Path("targets/deep/b.npy").unlink()
    result = gradviz("saliency", "model.ts", "photos", "--seed", "loss:mse=targets")
    says = "seed loss:mse=targets: targets: no target for deep/b.png; expected deep/b with"
    failed(result, 2, says)
    assert not Path("gradviz-out").exists()


def test_a_target_of_another_shape_fails_for_its_photo_alone(
    gradviz: Gradviz, photos: list[str]
) -> None:
    np.save("targets/a.npy", np.zeros((3, 3)))
    result = gradviz("saliency", "model.ts", "photos", "--seed", "loss:mse=targets")
    assert result.exit_code == 4
    assert [line["status"] for line in lines()] == ["error", "ok"]
    assert "the file's shape is [3, 3]" in lines()[0]["error"]["message"]


def test_a_target_that_changed_is_another_run(gradviz: Gradviz, photos: list[str]) -> None:
    given = ("saliency", "model.ts", "photos", "--seed", "loss:mse=targets")
    assert gradviz(*given).exit_code == 0
    np.save("targets/a.npy", np.zeros((130, 140), np.float32))
    failed(gradviz(*given, "--resume"), 2, "holds another run (files.targets/a.npy was")


def test_a_target_that_is_replaced_during_the_run_fails(
    gradviz: Gradviz, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:

    def load_and_replace(*given: Any) -> LoadedImage:
        found = load_image(*given)
        if found.name == "a.png":
            shutil.copy("targets/a.npy", "targets/other.npy")
            Path("targets/other.npy").replace("targets/deep/b.npy")
        return found

    monkeypatch.setattr(run, "load_image", load_and_replace)
    given = ("saliency", "model.ts", "photos", "--seed", "loss:mse=targets", "--batch-size", 1)
    result = gradviz(*given)
    assert [line["status"] for line in lines()] == ["ok", "error"], result.stderr
    assert "b.npy: was replaced while the run was under way" in lines()[1]["error"]["message"]


def test_an_expectation_without_a_loss_is_refused(gradviz: Gradviz, photos: list[str]) -> None:
    result = gradviz("saliency", "model.ts", "photos", "--expect", "loss<1")
    failed(result, 2, "--expect loss: which loss? give --seed loss:NAME=TARGET")
