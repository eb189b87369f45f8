"""The answer is seen: the view `output`, `output.npy`, figures and the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gradviz
from gradviz.commands.report.inputs import read_input
from gradviz.commands.report.page import report
from gradviz.errors import UsageError
from gradviz.heatmap.output import class_colour, picture_of_values
from tests.helpers.commands import Gradviz, contents, document, failed, line, lines
from tests.helpers.formats import script

DEPTH = "1 + (x * x).sum(1)"
PLANES = "torch.cat([x, 1 - x[:, :1]], 1)"
SCORES = "x.mean([2, 3])"
TOKENS = "x[:, :, None]"
SEEN = ("--view", "output")


def photo(name: str, size: tuple[int, int]) -> np.ndarray:
    """Write a picture of noise; return it as [3, H, W] in [0, 1]."""
    levels = np.random.default_rng(len(name)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(levels).save(name)
    return np.asarray(levels.transpose(2, 0, 1) / 255)


def shown(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_depth_map_is_drawn_with_its_range(gradviz: Gradviz) -> None:
    pixels = photo("a.png", (60, 40))
    model = script(DEPTH, "model.ts")
    result = gradviz("saliency", model, "a.png", *SEEN, "--array", "all", "--seed", "pixel:3,4")
    assert result.exit_code == 0, result.stderr
    depth = 1 + (pixels**2).sum(axis=0)
    entry = line()["output"]
    assert (entry["shows"], entry["channel"], entry["size"]) == ("values", 0, [60, 40])
    assert [entry["low"], entry["high"]] == pytest.approx([depth.min(), depth.max()], rel=1e-6)
    assert line()["files"]["output.npy"] == "a.png/pixel-3-4/output.npy"
    kept = np.load("gradviz-out/a.png/pixel-3-4/output.npy")
    np.testing.assert_allclose(kept, depth, rtol=1e-6)
    drawn = shown("gradviz-out/a.png/pixel-3-4/output.png")[:40, :60].astype(int)
    expected = picture_of_values(depth, depth.min(), depth.max(), (60, 40))
    assert np.abs(drawn - np.asarray(expected, int)).max() <= 3
    record = json.loads(Path("gradviz-out/run.json").read_text())
    assert record["writes"] == ["gradient.npy", "output.npy", "output.png"]


@pytest.mark.parametrize(
    ("seed", "channel"),
    [("class:3", 3), ("channel:1", 1), ("pixel:2,2,2", 2), ("region:0,0,4,4,1", 1)],
)
def test_the_score_map_of_the_channel_that_is_asked(
    gradviz: Gradviz, seed: str, channel: int
) -> None:
    pixels = photo("a.png", (20, 30))
    planes = np.concatenate([pixels, 1 - pixels[:1]])
    result = gradviz("saliency", script(PLANES, "model.ts"), "a.png", *SEEN, "--seed", seed)
    assert result.exit_code == 0, result.stderr
    entry = line()["output"]
    assert (entry["shows"], entry["channel"]) == ("values", channel)
    ends = [planes[channel].min(), planes[channel].max()]
    assert [entry["low"], entry["high"]] == pytest.approx(ends, abs=1e-6)
    assert entry["lines"] == [f"class {channel}"]


@pytest.mark.parametrize("seed", ["ones", "top", "class:1 - class:2"])
def test_without_one_channel_the_class_that_wins_is_shown(gradviz: Gradviz, seed: str) -> None:
    pixels = photo("a.png", (20, 30))
    winners = np.concatenate([pixels, 1 - pixels[:1]]).astype(np.float32).argmax(axis=0)
    Path("names.txt").write_text("red\ngreen\nblue\nno red\n")
    given = ("saliency", script(PLANES, "model.ts"), "a.png", *SEEN, "--labels", "names.txt")
    result = gradviz(*given, "--seed", seed)
    assert result.exit_code == 0, result.stderr
    (path,) = Path("gradviz-out/a.png").glob("*/output.png")
    drawn = shown(str(path))[:30, :20]
    for index, name in enumerate(["red", "green", "blue", "no red"]):
        there = (drawn == class_colour(index)).all(axis=-1)
        assert (there == (winners == index)).all()
        share = 100 * (winners == index).mean()
        assert f"class {index} ({name}), {share:.3g} %" in line()["output"]["lines"]


def test_the_winning_class_has_its_score_and_share(gradviz: Gradviz) -> None:
    pixels = photo("a.png", (20, 30))
    result = gradviz("saliency", script(SCORES, "model.ts"), "a.png", *SEEN, "--seed", "class:0")
    assert result.exit_code == 0, result.stderr
    scores = torch.from_numpy(pixels.mean(axis=(1, 2)))
    first = int(scores.argmax())
    share = 100 * float(scores.softmax(0)[first])
    assert line()["output"]["lines"] == [
        f"class {first}",
        f"score {float(scores[first]):.4g}, share {share:.3g} %",
    ]
    drawn = shown("gradviz-out/a.png/class-0/output.png")[:30, :20]
    assert (drawn == shown("a.png")).all()


def test_the_boxes_of_a_detector(gradviz: Gradviz, models: Path, images: Path) -> None:
    image = images / "shapes_04.png"
    result = gradviz("saliency", models / "boxes.yaml", image, *SEEN, "--seed", "box:0")
    assert result.exit_code == 0, result.stderr
    entry, asked = line()["output"], line()["detection"]
    assert entry["shows"] == "boxes"
    assert entry["lines"][0] == f"class {asked['index']} ({asked['label']}), {asked['score']:.3g}"
    width, height = entry["size"]
    drawn = shown("gradviz-out/shapes_04.png/box-0/output.png")[:height, :width]
    x0, y0, x1, y1 = asked["box_in_input"]
    lit = np.argwhere((drawn == 255).all(axis=-1))[:, ::-1]
    inside = lit[(lit >= [x0 - 2, y0 - 2]).all(1) & (lit <= [x1 + 2, y1 + 2]).all(1)]
    assert np.abs([*(inside.min(0) - [x0, y0]), *(inside.max(0) - [x1, y1])]).max() <= 1.5


def test_an_output_of_another_rank_has_its_shape(gradviz: Gradviz) -> None:
    photo("a.png", (20, 30))
    given = ("saliency", script(TOKENS, "model.ts"), "a.png", *SEEN, "--array", "all")
    result = gradviz(*given, "--seed", "ones")
    assert result.exit_code == 0, result.stderr
    assert line()["output"]["lines"] == ["an output of the shape [3, 1, 30, 20]"]
    assert np.load("gradviz-out/a.png/ones/output.npy").shape == (3, 1, 30, 20)


@pytest.mark.parametrize(
    "options",
    [
        ["--tile", "32"],
        ["--method", "smoothgrad", "--samples", "2"],
        ["--scale", "shared"],
        ["--method", "integrated-gradients", "--samples", "2"],
    ],
)
def test_every_path_shows_the_same_output(gradviz: Gradviz, options: list[str]) -> None:
    for name in ("a.png", "bb.png"):
        photo(name, (140, 150))
    model = script(DEPTH, "model.ts")
    views = (*SEEN, "--view", "heatmap", "--array", "all", "--seed", "pixel:70,75")
    given = ("saliency", model, "a.png", "bb.png", *views)
    assert gradviz(*given, "-o", "plain").exit_code == 0
    result = gradviz(*given, *options, "-o", "other")
    assert result.exit_code == 0, result.stderr
    plain, other = contents("plain"), contents("other")
    assert len([name for name in plain if "output" in name]) == 4
    for name in (name for name in plain if "output" in name):
        assert other[name] == plain[name], name
    assert [each["output"] for each in lines("other")] == [
        each["output"] for each in lines("plain")
    ]
    Path("other/a.png/pixel-70-75/output.png").unlink()
    result = gradviz(*given, *options, "-o", "other", "--resume")
    assert result.exit_code == 0, result.stderr
    assert (
        contents("other")["a.png/pixel-70-75/output.png"] == plain["a.png/pixel-70-75/output.png"]
    )


def test_shards_show_the_output(gradviz: Gradviz) -> None:
    for name in ("a.png", "bb.png"):
        photo(name, (30, 20))
    given = ("saliency", script(DEPTH, "model.ts"), "a.png", "bb.png", *SEEN, "--batch-size", 1)
    assert gradviz(*given, "-o", "whole").exit_code == 0
    for shard in ("1/2", "2/2"):
        assert gradviz(*given, "-o", "parts", "--shard", shard).exit_code == 0
    assert contents("parts") == contents("whole")


def test_in_the_photos_pixels(gradviz: Gradviz) -> None:
    photo("a.png", (80, 40))
    given = ("saliency", script(DEPTH, "model.ts"), "a.png", *SEEN, "--letterbox", 40)
    result = gradviz(*given, "--frame", "image", "--figure", "f.png")
    assert result.exit_code == 0, result.stderr
    assert line()["output"]["size"] == [80, 40]
    drawn = shown("gradviz-out/a.png/ones/output.png")[:40, :80]
    assert (drawn[::2, ::2] == drawn[1::2, 1::2]).all()  # a pixel of the input is 2×2 of the photo
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 50


def test_runs_with_outputs_are_compared(gradviz: Gradviz) -> None:
    photo("a.png", (30, 20))
    script(DEPTH, "one.ts")
    script("2 + (x * x).sum(1)", "two.ts")
    for name in ("one", "two"):
        given = ("saliency", f"{name}.ts", "a.png", *SEEN, "--array", "all", "-o", name)
        assert gradviz(*given).exit_code == 0
    result = gradviz("compare", "one", "two", "-o", "both", "--json")
    assert result.exit_code == 6, result.stderr
    (item,) = document(result)["items"]
    assert item["measured"]["gradient"]["max"] == 0
    assert item["measured"]["output"]["max"] == pytest.approx(1)


def test_figures_and_the_page_show_the_output(gradviz: Gradviz) -> None:
    photo("a.png", (30, 20))
    given = ("saliency", script(PLANES, "model.ts"), "a.png", *SEEN, "--figure", "f.svg")
    result = gradviz(*given, "--seed", "class:1", "--seed", "ones")
    assert result.exit_code == 0, result.stderr
    figure = Path("f.svg").read_text()
    assert "output, class 1" in figure and "output (score)" in figure
    for text in lines()[1]["output"]["lines"]:
        assert text in figure
    page = report([read_input("gradviz-out")], images=True).html
    for each in lines():
        caption = "; ".join(each["output"]["lines"])
        assert f'"caption": "{caption}' in page


def test_the_page_of_a_run_with_nothing_but_outputs(gradviz: Gradviz) -> None:
    photo("a.png", (30, 20))
    given = ("saliency", script(DEPTH, "model.ts"), "a.png", *SEEN, "--array", "none")
    assert gradviz(*given).exit_code == 0
    assert '"caption": "1.' in report([read_input("gradviz-out")]).html


def test_from_python() -> None:
    x = np.random.default_rng(0).random((3, 20, 30), np.float32)
    model = torch.nn.Conv2d(3, 1, 1).eval()
    (found,) = gradviz.saliency(model, x, "pixel:3,4", output=True)
    assert found.answered is not None
    expected = model(torch.from_numpy(x)[None])[0].detach().numpy()
    np.testing.assert_allclose(found.answered.array, expected, rtol=1e-6)
    assert found.picture("output").width >= 30
    (bare,) = gradviz.saliency(model, x, "pixel:3,4")
    assert bare.answered is None
    with pytest.raises(UsageError, match="output=True"):
        bare.picture("output")


def test_an_array_that_is_no_picture_cannot_be_shown_over(gradviz: Gradviz) -> None:
    np.save("d.npy", np.ones((1, 20, 30), np.float32))
    photo("a.png", (30, 20))
    given = ("saliency", script(DEPTH, "model.ts"), "a.png", "--input", "depth=d.npy")
    failed(gradviz(*given, "--wrt", "depth", *SEEN), 2, "leave out --view output")
