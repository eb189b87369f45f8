"""Methods, layers and loss seeds through the command line: files, lines, pictures, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from tests.helpers.commands import Gradviz, line


@pytest.fixture
def saliency(gradviz: Gradviz, models: Path, images: Path) -> Callable[..., Result]:
    def run(*options: str | Path) -> Result:
        return gradviz("saliency", models / "shapes.yaml", images / "shapes_01.png", *options)

    return run


def arrays(folder: str = "gradviz-out") -> dict[str, Any]:
    files = {path.stem: np.load(path) for path in Path(folder).glob("*/*/*.npy")}
    assert all(array.dtype == np.float32 for array in files.values())
    return files


def test_grad_cam_names_its_layer_and_draws_at_the_inputs_size(saliency: Any) -> None:
    result = saliency("--method", "gradcam", "--view", "heatmap", "--view", "rgb")
    assert result.exit_code == 0, result.stderr
    assert "layer features\n" in result.stdout and line()["layer"] == "features"
    assert arrays().keys() == {"attribution"}
    (array,) = arrays()["attribution"]
    assert array.shape == (12, 12) and array.min() == 0 < array.max()
    with Image.open("gradviz-out/shapes_01.png/top/heatmap.png") as picture:
        assert picture.size == (96, 96)


@pytest.mark.parametrize(
    "method, names",
    [
        ("gradient", {"activation", "gradient"}),
        ("guided", {"activation", "gradient"}),
        ("input-x-gradient", {"activation", "gradient", "attribution"}),
        ("gradcam", {"activation", "gradient", "attribution"}),
        ("guided-gradcam", {"activation", "gradient", "attribution"}),
        ("lrp", {"activation", "attribution"}),
    ],
)
def test_a_named_layer_is_written(method: str, names: set[str], saliency: Any) -> None:
    assert saliency("--method", method, "--layer", "features.4.0").exit_code == 0
    found = arrays()
    assert found.keys() == names == line()["files"].keys() - {"heatmap", "overlay"}
    if method == "lrp":
        assert found["activation"].shape == found["attribution"].shape
        assert not {"absorbed", "conservation"} & line().keys()
    else:
        assert found["activation"].shape == found["gradient"].shape
    assert set(json.loads(Path("gradviz-out/run.json").read_text())["writes"]) == {
        *(f"{name}.npy" for name in names),
        "heatmap.png",
        "overlay.png",
    }
    if method == "input-x-gradient":
        assert np.array_equal(found["attribution"], found["activation"] * found["gradient"])
    if method == "guided-gradcam":
        assert found["attribution"].shape == (3, 96, 96)
    assert ("gated" in line()) == method.startswith("guided")


def test_a_picture_of_a_layer_shows_where_its_gradient_is(saliency: Any) -> None:
    assert saliency("--layer", "features.4.0", "--view", "gray").exit_code == 0
    size = np.abs(arrays()["gradient"]).sum(0)
    with Image.open("gradviz-out/shapes_01.png/top/gray.png") as picture:
        levels = np.asarray(picture, float)[..., 0]
    height, width = size.shape
    blocks = levels.reshape(height, 96 // height, width, 96 // width).mean((1, 3))
    assert np.corrcoef(blocks.ravel(), size.ravel())[0, 1] > 0.95


def test_a_layer_without_places_has_one_colour_and_says_so(saliency: Any) -> None:
    result = saliency("--layer", "scores", "--seed", "class:1")
    assert result.exit_code == 0 and "no spatial extent" in result.stderr
    assert arrays()["gradient"].tolist() == [0, 1, 0, 0]
    with Image.open("gradviz-out/shapes_01.png/class-1/heatmap.png") as picture:
        assert len(picture.getcolors() or []) == 1


def test_shared_scales_are_drawn_from_a_layers_arrays(
    gradviz: Gradviz, models: Path, images: Path
) -> None:
    command = ["saliency", models / "shapes.yaml", images / "shapes_01.png"]
    command += [images / "shapes_02.png", "--method", "gradcam", "--scale", "shared"]
    result = gradviz(*command)
    assert result.exit_code == 0, result.stderr
    rows = Path("gradviz-out/results.jsonl").read_text().splitlines()
    scales = {json.loads(row)["scales"]["heatmap"] for row in rows}
    assert len(scales) == 1 and all(json.loads(row)["layer"] for row in rows)


def test_the_gap_and_the_baseline_are_recorded(saliency: Any) -> None:
    np.save("black.npy", np.full((3, 96, 96), -2.0))
    options = ["--method", "integrated-gradients", "--samples", "4", "--baseline", "black.npy"]
    result = saliency(*options, "--seed", "class:1")
    assert result.exit_code == 0, result.stderr
    found = line()
    assert f"completeness gap {found['completeness']:.3g}" in result.stdout
    run = json.loads(Path("gradviz-out/run.json").read_text())
    assert run["settings"]["samples"] == 4 and run["settings"]["baseline"] == "black.npy"
    assert "black.npy" in run["files"]
    before = arrays()["attribution"]
    np.save("black.npy", np.full((3, 96, 96), -1.0))
    resumed = saliency(*options, "--seed", "class:1", "--resume")
    assert resumed.exit_code == 2 and "black.npy" in resumed.stderr
    assert np.array_equal(arrays()["attribution"], before)


def test_what_absorbs_relevance_is_recorded(saliency: Any) -> None:
    result = saliency("--method", "lrp", "--seed", "class:1", "--precision", "float64")
    assert result.exit_code == 0, result.stderr
    found = line()
    absorbed = found["absorbed"]
    assert absorbed.keys() == {"biases", "constants", "epsilon", "softmax"}
    assert f"absorbed {sum(absorbed.values()):.3g}" in result.stdout
    assert f"conservation gap {found['conservation']:.3g}" in result.stdout
    arrived = float(arrays()["attribution"].sum(dtype=np.float64))
    assert arrived + sum(absorbed.values()) == pytest.approx(found["score"], rel=1e-5)


def test_noise_is_the_same_in_every_run(saliency: Any) -> None:
    options = ["--method", "smoothgrad", "--samples", "3", "--noise", "0.1"]
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert saliency(*options, "--random-seed", seed, "-o", folder).exit_code == 0
    assert np.array_equal(arrays("a")["attribution"], arrays("b")["attribution"])
    assert not np.array_equal(arrays("a")["attribution"], arrays("c")["attribution"])


def test_a_loss_by_the_classs_name(saliency: Any) -> None:
    assert saliency("--seed", "loss:ce=star").exit_code == 0
    assert Path("gradviz-out/shapes_01.png/loss-ce-star/gradient.npy").is_file()
    wrong = saliency("--seed", "loss:ce=sta", "-o", "b")
    assert wrong.exit_code == 2 and "did you mean star?" in wrong.stderr
    assert not Path("b").exists()


@pytest.mark.parametrize(
    "options, code, message",
    [
        (["--layer", "feature.4.0"], 2, "did you mean features.4.0, features"),
        (["--method", "gradcam", "--layer", "scores"], 2, "no spatial extent"),
        (["--method", "smoothgrad", "--layer", "scores"], 2, "leave out --layer"),
        (["--method", "smoothgrad", "--samples", "0"], 2, "--samples"),
        (["--method", "vargrad", "--samples", "1"], 2, "at least 2"),
        (["--noise", "0.1"], 2, "smoothgrad, vargrad"),
        (["--method", "integrated-gradients", "--baseline", "gray"], 2, "zero, mean, blur"),
        (["--seed", "loss:mse=none.npy"], 2, "none.npy"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    options: list[str], code: int, message: str, saliency: Any
) -> None:
    result = saliency(*options)
    assert result.exit_code == code and message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_baseline_fails_only_the_images_that_it_does_not_fit(
    gradviz: Gradviz, models: Path
) -> None:
    for name, side in (("a", 96), ("b", 48)):
        np.save(f"{name}.npy", np.zeros((3, side, side), np.float32))
    np.save("base.npy", np.ones((3, 48, 48)))
    command = ["saliency", models / "shapes.yaml", "a.npy", "b.npy", "--preprocess", "none"]
    command += ["--method", "integrated-gradients", "--samples", "2", "--baseline", "base.npy"]
    result = gradviz(*command)
    assert result.exit_code == 4 and "[3, 48, 48]" in result.stderr
    rows = map(json.loads, Path("gradviz-out/results.jsonl").read_text().splitlines())
    assert {row["image"]: row["status"] for row in rows} == {"a.npy": "error", "b.npy": "ok"}
