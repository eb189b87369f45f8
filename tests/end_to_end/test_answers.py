"""What `top` and `class:` took: class, label, score and share, wherever a result is read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradviz as python
from tests.helpers.commands import Gradviz, document, failed, lines
from tests.helpers.formats import models as in_formats
from tests.helpers.formats import save, script

LABELS = ("tabby, tabby cat", "Egyptian cat", "crane", "goldfish", "tench")
FORMATS = ("checkpoint.pt", "pickled.pt", "scripted.ts", "traced.ts", "frozen.ts", "program.pt2")


class Classifier(nn.Module):
    """Five class scores of any image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.scores = nn.Linear(6, 5)

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.scores(torch.relu(self.conv(image)).mean((2, 3)))
        return 9 * scores


def factory() -> nn.Module:
    return Classifier()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    noise = np.random.default_rng(5)
    paths = [tmp_path / f"{n}.png" for n in range(5)]
    for path in paths:
        level = noise.integers(1, 255)
        Image.fromarray(noise.integers(0, level, (16, 16, 3), np.uint8)).save(path)
    return paths


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(dict(enumerate(LABELS))))
    return path


def exact(photo: Path) -> Tensor:
    """The scores of a photo in float64, without gradviz: [5]."""
    pixels = torch.tensor(np.asarray(Image.open(photo)), dtype=torch.float64) / 255
    with torch.no_grad():
        scores: Tensor = Classifier().double()(pixels.movedim(2, 0)[None])[0]
    return scores


def check_answers(found: Sequence[dict[str, Any]], photos: Sequence[Path]) -> None:
    """See that the answers of `top`, `top:2` and class 1 are those of float64."""
    scores = {photo.name: exact(photo) for photo in photos}
    assert len(found) == 3 * len(photos)
    for line in found:
        y = scores[line["image"]]
        order = y.argsort(descending=True).tolist()
        index = {"top": order[0], "top:2": order[1], "class:egyptian cat": 1}[line["seed"]]
        answer = line["class"]
        assert list(answer) == ["index", "label", "score", "share"]
        assert (answer["index"], answer["label"]) == (index, LABELS[index])
        assert answer["score"] == line["score"] == pytest.approx(y[index].item(), abs=1e-5)
        assert answer["share"] == pytest.approx(torch.softmax(y, 0)[index].item(), abs=1e-5)


SEEDS = ("--seed", "top", "--seed", "top:2", "--seed", "class:egyptian cat")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(
    gradviz: Gradviz, tmp_path: Path, photos: list[Path], labels: Path, name: str
) -> None:
    save(Classifier().eval(), torch.rand(1, 3, 16, 16), tmp_path, name)
    command = ["saliency", name, *photos, *SEEDS, "--labels", labels, "-o", "out"]
    arch = ["--arch", "tests.end_to_end.test_answers:factory"] if name == "checkpoint.pt" else []
    result = gradviz(*command, *arch, "--trust", "--view", "heatmap")
    assert result.exit_code == 0, result.stderr
    check_answers(lines("out"), photos)
    first = lines("out")[0]["class"]
    row = f"class {first['index']} ({first['label']}), share {100 * first['share']:.3g} %"
    assert result.stdout.splitlines()[0].split("\t")[-1] == row


@pytest.mark.parametrize(
    "options",
    [
        ["--method", "smoothgrad", "--samples", "3"],
        ["--method", "integrated-gradients", "--samples", "3"],
        ["--method", "guided"],
        ["--layer", "conv"],
        ["--batch-size", "2", "--no-optimize"],
        ["--precision", "float64"],
        ["--scale", "shared"],
    ],
)
def test_every_method_has_the_answers_of_the_image_itself(
    gradviz: Gradviz, photos: list[Path], labels: Path, options: list[str]
) -> None:
    script(Classifier().eval(), "model.ts")
    result = gradviz(
        "saliency", "model.ts", *photos, *SEEDS, "--labels", labels, "-o", "out", *options
    )
    assert result.exit_code == 0, result.stderr
    check_answers(lines("out"), photos)


def test_shards_and_resumed_runs_have_the_same_bytes(
    gradviz: Gradviz, photos: list[Path], labels: Path
) -> None:
    script(Classifier().eval(), "model.ts")
    command = ["saliency", "model.ts", *photos, *SEEDS, "--labels", labels, "--batch-size", "2"]
    assert gradviz(*command, "-o", "whole").exit_code == 0
    whole = Path("whole/results.jsonl").read_text()
    for shard in ("1/2", "2/2"):
        assert gradviz(*command, "-o", "parts", "--shard", shard).exit_code == 0
    rows = "".join(Path(f"parts/results.{n}-of-2.jsonl").read_text() for n in (1, 2))
    assert sorted(rows.splitlines()) == sorted(whole.splitlines())
    left = "".join(whole.splitlines(keepends=True)[:8])  # two images, and two seeds of the third
    Path("whole/results.jsonl").write_text(left)
    assert gradviz(*command, "-o", "whole", "--resume").exit_code == 0
    assert Path("whole/results.jsonl").read_text() == whole


def test_python_has_them_too(tmp_path: Path, photos: list[Path]) -> None:
    x = torch.rand(1, 3, 16, 16)
    for model in in_formats(
        Classifier().eval(), x, tmp_path, "scripted.ts", "program.pt2"
    ).values():
        (found,) = python.saliency(model, photos[0], "top")
        y = exact(photos[0])
        assert found.answer is not None and found.answer.label is None
        assert found.answer.index == int(y.argmax())
        assert found.answer.share == pytest.approx(torch.softmax(y, 0).max().item(), abs=1e-5)
        (found,) = python.saliency(model, photos[0], "ones")
        assert found.answer is None


def test_inspect_lists_the_first_five(gradviz: Gradviz, photos: list[Path], labels: Path) -> None:
    script(Classifier().eval(), "model.ts")
    command = ["inspect", "model.ts", photos[0], "--labels", labels]
    y = exact(photos[0])
    found = document(gradviz(*command, "--json"))["classes"]
    assert [each["index"] for each in found] == y.argsort(descending=True).tolist()
    for each in found:
        assert each["label"] == LABELS[each["index"]]
        assert each["score"] == pytest.approx(y[each["index"]].item(), abs=1e-5)
        assert each["share"] == pytest.approx(torch.softmax(y, 0)[each["index"]].item(), abs=1e-5)
    page = gradviz(*command).stdout
    first = found[0]
    assert re.search(
        rf"^class   {first['index']} \({first['label']}\) +score {first['score']:.3g} +"
        rf"share {100 * first['share']:.3g} %$",
        page,
        re.MULTILINE,
    )
    assert "classes" not in document(gradviz("inspect", "model.ts", "--json"))


@pytest.mark.parametrize(
    ("model", "score", "share"),
    [
        ("x.mean((2, 3))[:, :1]", 1, None),  # a single value
        ("torch.softmax(9 * x.mean((2, 3)), 1)", None, "score"),
    ],
)
def test_outputs_without_a_softmax(
    gradviz: Gradviz, model: str, score: float | None, share: str | None
) -> None:
    script(model, "model.ts")
    Image.new("RGB", (8, 8), (255, 51, 0)).save("red.png")
    assert gradviz("saliency", "model.ts", "red.png").exit_code == 0
    (found,) = lines()
    answer = found["class"]
    if share is None:
        assert answer == {"index": 0, "label": None, "score": score, "share": None}
    else:
        wanted = torch.softmax(torch.tensor([9.0, 9 / 5, 0.0]).double(), 0)[0].item()
        assert answer["share"] == answer["score"] == pytest.approx(wanted, rel=1e-6)


class OfSigmoid(nn.Module):
    """Five probabilities, or other numbers between 0 and 1."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 5, 3)
        self.factor = factor

    def forward(self, image: Tensor) -> Tensor:
        y = torch.sigmoid(self.conv(image).mean((2, 3)))
        if self.factor != 1:
            y = y * self.factor
        return y[:, None].squeeze(1)


def of_sigmoid(factor: float) -> nn.Module:
    return OfSigmoid(factor).eval()


@pytest.mark.parametrize("method", [["gradient"], ["smoothgrad", "--samples", "2"]])
@pytest.mark.parametrize("name", FORMATS)
def test_scores_of_a_sigmoid_have_no_share(
    gradviz: Gradviz, photos: list[Path], name: str, method: list[str]
) -> None:
    """Each is a probability of its own; other numbers between 0 and 1 are scores."""
    for factor in (1, 0.9):
        save(of_sigmoid(factor), torch.rand(1, 3, 16, 16), Path.cwd(), name)
        arch = ["--arch", "tests.end_to_end.test_answers:of_sigmoid", "--arch-arg"]
        given = [name, photos[0], "--trust"] + (
            [*arch, f"factor={factor}"] if name == "checkpoint.pt" else []
        )
        result = gradviz("saliency", *given, "--method", *method, "--overwrite")
        assert result.exit_code == 0, result.stderr
        share = lines()[0]["class"]["share"]
        assert (share is None) == (factor == 1)
        assert (", share " in result.stdout) == (factor != 1)
        assert (" share " in gradviz("inspect", *given).stdout) == (factor != 1)


def test_a_dense_output_in_tiles_has_the_sum(gradviz: Gradviz) -> None:
    script("x * 2", "model.ts")
    noise = np.random.default_rng(1).integers(0, 255, (96, 96, 3), np.uint8)
    Image.fromarray(noise).save("noise.png")
    for tile in ("off", "32"):
        command = ["saliency", "model.ts", "noise.png", "--seed", "class:1", "--tile", tile]
        assert gradviz(*command, "-o", tile).exit_code == 0
        (found,) = lines(tile)
        assert found["class"] == {"index": 1, "label": None, "score": found["score"], "share": None}
        assert found["score"] == pytest.approx(2 * noise[:, :, 1].sum() / 255, rel=1e-6)


def test_labels_of_a_card_give_way_to_the_option(gradviz: Gradviz, photos: list[Path]) -> None:
    script(Classifier().eval(), "model.ts")
    Path("names").mkdir()
    Path("names/short.txt").write_text("one\ntwo\nthree\n")
    Path("model.yaml").write_text("labels: names/short.txt\n")
    result = gradviz("saliency", "model.ts", photos[0], "--seed", "class:two", "-o", "a")
    assert result.exit_code == 0
    assert "5 classes and 3 labels" in result.stderr
    (found,) = lines("a")
    assert found["class"]["label"] == "two" and "3 labels" in found["warnings"][0]
    Path("five.txt").write_text("a\nb\nc\nd\ne\n")
    command = ["saliency", "model.ts", photos[0], "--labels", "five.txt"]
    result = gradviz(*command, "--seed", "class:B", "-o", "b")
    assert result.exit_code == 0 and "labels" not in result.stderr
    assert lines("b")[0]["class"]["label"] == "b"
    failed(gradviz(*command, "--seed", "class:two", "-o", "c"), 2, "no class is called 'two'")
    assert not Path("c").exists()


@pytest.mark.parametrize("name", ["../secret.txt", "link.txt", "absent.txt", "."])
def test_a_card_names_labels_in_its_folder_only(
    gradviz: Gradviz, photos: list[Path], name: str
) -> None:
    Path("secret.txt").write_text("my secret\n")
    Path("model").mkdir()
    Path("model/link.txt").symlink_to("../secret.txt")
    script("x.mean((2, 3))", "model/model.ts")
    Path("model/model.yaml").write_text(f"labels: {name}\n")
    result = gradviz("saliency", "model/model.ts", photos[0])
    failed(result, 2, "model/model.yaml, line 1", "labels")
    assert "my secret" not in result.stderr


def test_labels_that_are_none_are_refused_at_once(gradviz: Gradviz, photos: list[Path]) -> None:
    Path("labels.json").write_text('{"0": 7}')
    failed(gradviz("saliency", "absent.ts", photos[0], "--labels", "labels.json"), 2, "quote it")
    assert not Path("gradviz-out").exists()


def test_a_figure_names_the_class(gradviz: Gradviz, photos: list[Path], labels: Path) -> None:
    script(Classifier().eval(), "model.ts")
    command = ["saliency", "model.ts", photos[0], "--seed", "top", "--seed", "ones"]
    assert gradviz(*command, "--labels", labels, "--figure", "figure.svg").exit_code == 0
    first = lines()[0]["class"]
    text = Path("figure.svg").read_text()
    share = f"{100 * first['share']:.3g} %"
    assert f">0.png, top: class {first['index']} ({first['label']}), share {share}<" in text
    assert ">0.png, ones<" in text
