"""`--mean-of-images`: held against NumPy's and Python's own means, also after interruptions."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.commands import Gradviz
from tests.helpers.formats import script

NAMES = ("a.png", "b.png", "c.png", "d.png", "e.png")


@pytest.fixture
def photos(gradviz: Gradviz) -> Path:
    """A folder of five pictures of 6×4 pixels, in the empty folder where commands run."""
    folder = Path("photos")
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in NAMES:
        Image.fromarray(random.integers(0, 256, (4, 6, 3), np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def model(gradviz: Gradviz) -> str:
    """A model whose gradient, 4x³ − 1, has both signs."""
    return script("x ** 4 - x", "net.ts")


def lines(out: str) -> list[dict[str, Any]]:
    files = sorted(Path(out).glob("results*.jsonl"))
    return [json.loads(row) for file in files for row in file.read_text().splitlines()]


def mean_line(out: str, seed: str = "ones") -> dict[str, Any]:
    (line,) = (each for each in lines(out) if (each["image"], each["seed"]) == ("mean", seed))
    return line


def of_mean(out: str) -> dict[str, bytes]:
    """Every file of the means, by its name."""
    files = (path for path in Path(out, "mean").rglob("*") if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_means_and_spreads_are_those_of_other_libraries(
    gradviz: Gradviz, photos: Path, model: str
) -> None:
    seeds = ("--seed", "ones", "--seed", "pixel:2,1")
    result = gradviz("saliency", model, photos, *seeds, "-o", "out", "--mean-of-images")
    assert result.exit_code == 0
    assert "out/mean/ones\tscore" in result.stdout and "mean of 5 images" in result.stdout
    for seed in ("ones", "pixel-2-1"):
        stack = np.stack([np.load(f"out/{name}/{seed}/gradient.npy") for name in NAMES])
        assert (stack > 0).any() and (stack < 0).any()
        exact = stack.astype(np.longdouble)
        for name, expected in (("gradient", exact.mean(0)), ("magnitude", abs(exact).mean(0))):
            mean = np.load(f"out/mean/{seed}/{name}.npy")
            assert mean.dtype == np.float32
            np.testing.assert_allclose(mean, expected.astype(float), rtol=1e-6, atol=1e-8)
    line = mean_line("out")
    images = [each for each in lines("out") if each["image"] != "mean" and each["seed"] == "ones"]
    assert line["over"]["count"] == 5 and line["over"]["left_out"] == []
    spread = line["over"]["statistics"]
    assert {"score", "min", "max", "abs_mean", "l2", "scale"} <= spread.keys()
    for name, found in spread.items():
        values = [each["score"] if name == "score" else each["stats"][name] for each in images]
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        assert found == pytest.approx(
            {"count": 5, "mean": statistics.fmean(values), "median": median, "q1": q1, "q3": q3}
        )
    assert line["score"] == spread["score"]["mean"]


def test_sizes_are_drawn_of_sizes_and_signs_of_signs(
    gradviz: Gradviz, photos: Path, model: str
) -> None:
    run = ["saliency", model, photos, "-o", "out", "--mean-of-images", "--clip", "100", "-q"]
    assert gradviz(*run).exit_code == 0
    place = Path("out/mean/ones")
    with Image.open(place / "heatmap.png") as picture:
        brightness = np.asarray(picture).sum(axis=2, dtype=int).ravel()
    sizes = np.load(place / "magnitude.npy").sum(axis=0).ravel()
    assert (np.diff(brightness[sizes.argsort()]) >= 0).all()
    of_mean = abs(np.load(place / "gradient.npy")).sum(axis=0).ravel()
    assert (np.diff(brightness[of_mean.argsort()]) < 0).any()
    with Image.open(place / "signed.png") as picture:
        pixels = np.asarray(picture).astype(int)
    total = np.load(place / "gradient.npy").sum(axis=0)
    strong = abs(total) > 0.2 * abs(total).max()
    assert (((pixels[..., 0] > pixels[..., 2]) == (total > 0)) | ~strong).all()
    assert {*(total[strong] > 0)} == {True, False}


def interrupted(out: str, kept: int) -> None:
    """Leave the run as if it had ended after its first results."""
    rows = Path(out, "results.jsonl").read_text().splitlines(keepends=True)
    Path(out, "results.jsonl").write_text("".join(rows[:kept]))
    for path in (*Path(out, "mean").rglob("*.*"), *Path(out, "e.png").rglob("*.*")):
        path.unlink()


@pytest.mark.parametrize("kept", [0, 2, 5])
def test_a_resumed_run_has_the_same_bytes(
    gradviz: Gradviz, photos: Path, model: str, kept: int
) -> None:
    run = ["saliency", model, photos, "--batch-size", "1", "--mean-of-images", "-q"]
    assert gradviz(*run, "-o", "whole").exit_code == 0
    assert gradviz(*run, "-o", "parts").exit_code == 0
    interrupted("parts", kept)
    assert gradviz(*run, "-o", "parts", "--resume").exit_code == 0
    assert of_mean("parts") == of_mean("whole") != {}
    assert lines("parts") == lines("whole")
    assert gradviz(*run, "-o", "parts", "--resume").exit_code == 0  # nothing is left to do
    assert lines("parts") == lines("whole")


@pytest.mark.parametrize("scale", ["image", "shared"])
def test_the_last_shard_writes_the_means(
    gradviz: Gradviz, photos: Path, model: str, scale: str
) -> None:
    run = ["saliency", model, photos, "--batch-size", "2", "--mean-of-images", "--scale", scale]
    assert gradviz(*run, "-o", "whole").exit_code == 0
    assert gradviz(*run, "-o", "parts", "--shard", "2/2").exit_code == 0
    assert not Path("parts/mean").exists()
    assert gradviz(*run, "-o", "parts", "--shard", "1/2").exit_code == 0
    assert of_mean("parts") == of_mean("whole")
    for again in (["--shard", "2/2"], ["--shard", "1/2"], []):
        assert gradviz(*run, "-o", "parts", "--resume", *again).exit_code == 0
        assert mean_line("parts") == mean_line("whole")
    assert of_mean("parts") == of_mean("whole")


def test_what_is_left_out_is_named(gradviz: Gradviz, photos: Path, model: str) -> None:
    Image.new("RGB", (5, 4)).save(photos / "a.png")
    (photos / "d.png").write_text("no picture")
    result = gradviz("saliency", model, photos, "-o", "out", "--mean-of-images")
    assert result.exit_code == 4
    assert "warning: mean (ones): failed, and left out of the mean: d.png\n" in result.stderr
    other = "of another size than b.png, and left out of the mean: a.png"
    assert f"warning: mean (ones): {other}\n" in result.stderr
    over = mean_line("out")["over"]
    assert (over["count"], over["left_out"]) == (3, ["d.png", "a.png"])
    stack = [np.load(f"out/{name}/ones/gradient.npy") for name in ("b.png", "c.png", "e.png")]
    np.testing.assert_allclose(np.load("out/mean/ones/gradient.npy"), np.mean(stack, 0), rtol=1e-6)


def test_images_of_which_no_two_are_alike_have_no_mean(
    gradviz: Gradviz, photos: Path, model: str
) -> None:
    for n, name in enumerate(NAMES):
        Image.new("RGB", (7 + n, 5)).save(photos / name)
    result = gradviz("saliency", model, photos, "-o", "out", "--mean-of-images")
    assert result.exit_code == 4
    assert "error: the mean of ones: needs two images of one size" in result.stderr
    assert mean_line("out")["status"] == "error"
    assert not Path("out/mean").exists()


def test_a_mean_is_drawn_over_gray(gradviz: Gradviz, photos: Path) -> None:
    still = script("x * 0", "still.ts")
    assert gradviz("saliency", still, photos, "-o", "out", "--mean-of-images", "-q").exit_code == 0
    with Image.open("out/mean/ones/overlay.png") as picture:
        assert picture.getcolors() == [(24, (102, 102, 102))]  # 0.8 × 128
    assert {path.stem for path in Path("out/mean/ones").glob("*.png")} == {
        *("heatmap", "overlay", "signed")
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["photos/a.png"], "--mean-of-images: of several images; there is one, a.png"),
        (["photos", "--array", "none"], "--mean-of-images averages the arrays; leave out --array"),
        (["photos", "mean"], "an image cannot be called mean: its folder has that name"),
    ],
)
def test_what_has_no_mean_is_refused(
    gradviz: Gradviz, photos: Path, model: str, given: list[str], message: str
) -> None:
    Path("mean").write_bytes((photos / "a.png").read_bytes())
    result = gradviz("saliency", model, *given, "-o", "out", "--mean-of-images")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}")
    assert not Path("out").exists()


def test_other_commands_take_the_mean(gradviz: Gradviz, photos: Path, model: str) -> None:
    run = ["saliency", model, photos, "--mean-of-images", "-q", "--csv"]
    assert gradviz(*run, "t.csv", "-o", "a").exit_code == 0
    assert gradviz(*run, "u.csv", "-o", "b", "--mean", "0.1,0.1,0.1").exit_code == 0
    assert Path("t.csv").read_text().count("\na,mean,ones,ok,") == 1
    result = gradviz("compare", "a", "b", "--json", "-o", "c")
    (item,) = (each for each in json.loads(result.stdout)["items"] if each["image"] == "mean")
    assert {*item["measured"]} == {"gradient", "magnitude"} == {*item["files"]}
    assert gradviz("report", "a", "c", "-o", "page.html").exit_code == 0
    assert gradviz("saliency", model, photos, "-o", "a", "--overwrite").exit_code == 0
    assert not Path("a/mean").exists()
