"""Seeds on boxes from the command line: what is written, printed, measured and refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gradviz.commands.report.inputs import read_input
from gradviz.commands.report.page import report
from gradviz.commands.saliency.pointing import energy_in_box
from tests.helpers.commands import Gradviz, errors, failed, line, lines
from tests.helpers.formats import script


class Bright(nn.Module):
    """Two cells, each with a fixed box; the score of each is how bright its box is.

    The boxes are 8, 4, 16, 12 and 20, 16, 28, 24 on an input of 32x32.
    """

    def forward(self, image: Tensor) -> Tensor:
        first, second = image[:, :, 4:12, 8:16], image[:, :, 16:24, 20:28]
        scores = torch.stack([first.mean((1, 2, 3)), second.mean((1, 2, 3))], 1)
        # The left edge of the second follows the brightness of the first.
        moved = torch.stack([torch.zeros_like(scores[:, 0]), scores[:, 0]], 1)
        boxes = torch.tensor([[12.0, 8.0, 8.0, 8.0], [24.0, 20.0, 8.0, 8.0]], dtype=image.dtype)
        boxes = boxes.T.expand(len(image), 4, 2)
        cx = boxes[:, 0] + moved / 2 - moved.detach() / 2
        w = boxes[:, 2] - moved + moved.detach()
        y = torch.stack([cx, boxes[:, 1], w, boxes[:, 3], scores, 0 * scores], 1)
        # More columns than rows show that the cells lie along the last axis.
        rest = torch.zeros(len(image), 6, 8, dtype=image.dtype) + 1
        rest = rest * torch.tensor([4.0, 4.0, 2.0, 2.0, 0.0, 0.0])[:, None]
        return torch.cat([y, rest], 2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "net.yaml").write_text("labels: [lamp, cat]\nboxes: cxcywh\n")
    return script(Bright().eval(), tmp_path / "net.ts")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """64x32 pixels; as a letterbox of 32 it is 32x16, with 8 rows of gray above and below."""
    levels = np.full((32, 64, 3), 120, np.uint8)
    levels[0:8, 16:32] = 200  # on the first box, rows 8 to 12 of the input
    levels[20:32, 40:56] = 255  # on the second one
    Image.fromarray(levels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


LETTERBOX = ("--letterbox", 32)


def test_what_is_written_and_printed(gradviz: Gradviz, model: Path, photo: Path) -> None:
    result = gradviz("saliency", model, photo, *LETTERBOX, "--seed", "box:0", "--seed", "object:0",
                     "--seed", "box:at:20,2:w")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    best, same, other = lines()
    assert best["detection"] == same["detection"]
    found = best["detection"]
    assert (found["index"], found["label"]) == (0, "lamp")
    assert found["score"] == pytest.approx(best["score"])
    assert found["box_in_input"] == [20, 16, 28, 24]
    assert found["box"] == [40, 16, 56, 32]  # twice as large, 8 rows higher
    assert other["detection"]["box"] == [16, -8, 32, 8]
    assert other["score"] == 8
    assert "class" not in best and best["output_shape"] == [10, 7]
    (_, *rows) = result.stdout.splitlines()
    assert "class 0 (lamp), score 0.8" in result.stdout.splitlines()[0]
    assert rows[-1].endswith("box 16.0, -8.0, 32.0, 8.0")
    record = json.loads(Path("gradviz-out/run.json").read_text())
    assert record["settings"]["boxes"] == {"score": 0.25, "iou": 0.5}
    assert record["model"]["boxes"] == "cxcywh"


def test_the_choices_are_recorded(gradviz: Gradviz, model: Path, photo: Path) -> None:
    options = ("--box-score", 0.7, "--box-iou", 0.3)
    assert gradviz("saliency", model, photo, *LETTERBOX, "--seed", "box:0", *options).exit_code == 0
    record = json.loads(Path("gradviz-out/run.json").read_text())
    assert record["settings"]["boxes"] == {"score": 0.7, "iou": 0.3}
    result = gradviz("saliency", model, photo, *LETTERBOX, "--seed", "box:1", *options, "-o", "b")
    failed(result, 2, "seed box:1: there is no detection 1: there are 1", "lamp 0.8")


def test_the_energy_inside_its_own_box(gradviz: Gradviz, model: Path, photo: Path) -> None:
    """All that the score looks at lies inside, and all that the left edge looks at outside."""
    seeds = ("--seed", "box:0", "--seed", "box:at:50,25:x0")
    result = gradviz("saliency", model, photo, *LETTERBOX, *seeds, "--inside", "box")
    assert result.exit_code == 0, result.stderr
    assert [each["stats"]["inside"] for each in lines()] == [1.0, 0.0]
    expected = ("--expect", "inside>=0.5")
    result = gradviz("saliency", model, photo, *LETTERBOX, *seeds, "--inside", "box", *expected,
                     "--overwrite")  # fmt: skip
    assert result.exit_code == 6 and "box:at:50,25:x0" in errors(result)[0]


def test_energy_in_a_box_by_hand() -> None:
    """Centres at 1, 3, 5 and 7 of 8: the second and the third column are inside."""
    array = np.arange(1, 9, dtype=np.float32).reshape(1, 2, 4)
    assert energy_in_box(array, (8, 4), (3.0, 0.0, 7.0, 2.0)) == pytest.approx((4 + 9) / 204)
    assert np.isnan(energy_in_box(0 * array, (8, 4), (0.0, 0.0, 8.0, 4.0)))


def test_a_file_that_is_called_box(gradviz: Gradviz, model: Path, photo: Path) -> None:
    Image.new("L", (64, 32), 255).save("box", format="PNG")
    result = gradviz("saliency", model, photo, *LETTERBOX, "--seed", "box:0", "--inside", "./box")
    assert result.exit_code == 0, result.stderr
    assert line()["stats"]["inside"] == 1.0
    assert json.loads(Path("gradviz-out/run.json").read_text())["settings"]["inside"] == "./box"
    result = gradviz("saliency", model, photo, "--inside", "box", "-o", "b")
    failed(result, 2, "--inside box: the box of which detection?", "./box")
    result = gradviz("saliency", model, photo, "--seed", "box:0 - box:1", "--inside", "box")
    failed(result, 2, "no sum")


def test_sums_of_seeds_on_boxes(gradviz: Gradviz, model: Path, photo: Path) -> None:
    seeds = ("box:0", "box:1", "box:0 - 0.5*box:1")
    options = [word for seed in seeds for word in ("--seed", seed)]
    result = gradviz("saliency", model, photo, *LETTERBOX, *options)
    assert result.exit_code == 0, result.stderr
    one, other, both = (np.load(Path("gradviz-out", each["files"]["gradient"])) for each in lines())
    assert np.allclose(both, one - 0.5 * other, atol=1e-7)
    assert "detection" not in lines()[2]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--seed", "box:0", "--seed", "pixel:0,0"), "give them in two runs"),
        (("--seed", "pixel:0,0"), "pixel:0,0: needs a dense map"),
        (("--seed", "pixel:0,0"), "detections of a detector; use ones, box, object"),
        (("--seed", "class:0"), "detections of a detector; use ones, box, object"),
        (("--seed", "top:2"), "detections of a detector; use ones, box, object"),
        (("--tile", "16"), "leave out --tile"),
        (("--box-score", "0.5", "--seed", "top"), "--box-score: is for detections"),
        (("--box-iou", "0.5", "--seed", "ones"), "--box-iou: is for detections"),
        (("--seed", "box:0", "--box-iou", "2"), "--box-iou 2: give a share from 0 to 1"),
        (("--seed", "box:0", "--boxes", "yxyx"), "--boxes yxyx: give xyxy, xywh, cxcywh"),
        (("--seed", "object:dog"), "no class is called 'dog'"),
        (("--seed", "box:0", "--tile", "16"), "chosen from the whole image; leave out --tile"),
    ],
)
def test_refusals(
    gradviz: Gradviz, model: Path, photo: Path, options: tuple[str, ...], part: str
) -> None:
    failed(gradviz("saliency", model, photo, *LETTERBOX, *options), 2, part)


def test_without_a_seed_the_best_detection_is_asked(
    gradviz: Gradviz, model: Path, photo: Path
) -> None:
    assert gradviz("saliency", model, photo, *LETTERBOX).exit_code == 0
    assert (
        gradviz("saliency", model, photo, *LETTERBOX, "--seed", "box:0", "-o", "b").exit_code == 0
    )
    one, other = (
        (each, np.load(Path(out, each["files"]["gradient"])))
        for out in ("gradviz-out", "b")
        for each in [json.loads(Path(out, "results.jsonl").read_text())]
    )
    assert one[0]["seed"] == "box:0" and one[0]["detection"] == other[0]["detection"]
    assert np.array_equal(one[1], other[1])
    result = gradviz("saliency", model, photo, *LETTERBOX, "--box-score", 0.999, "-o", "c")
    failed(result, 2, "seed box:0: there is no detection 0: none has a score of 0.999 or more")
    result = gradviz("check", model, photo, *LETTERBOX)
    assert result.exit_code == 0 and "box:0" in result.stdout, result.stderr


def test_all_detections_beside_one_in_the_same_run(
    gradviz: Gradviz, model: Path, photo: Path
) -> None:
    seeds = [word for seed in ("ones", "box:0", "box:1") for word in ("--seed", seed)]
    result = gradviz("saliency", model, photo, *LETTERBOX, *seeds)
    assert result.exit_code == 0, result.stderr
    every, *each = (np.load(Path("gradviz-out", one["files"]["gradient"])) for one in lines())
    assert np.allclose(every, sum(each), atol=1e-7) and np.abs(every).max() > 0
    assert "detection" not in lines()[0]


def test_options_for_detections_of_a_model_that_finds_none(
    gradviz: Gradviz, tmp_path: Path, photo: Path
) -> None:
    net = script(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()).eval(), tmp_path / "scores.ts")
    result = gradviz("saliency", net, photo, "--box-iou", 0.3)
    failed(result, 2, "seed top: the model is no detector: leave out --box-score and --box-iou")


def test_receptive_fields_of_a_detector(gradviz: Gradviz, model: Path, photo: Path) -> None:
    result = gradviz("receptive-field", model, photo, *LETTERBOX)
    failed(result, 2, "the output holds detections, which have no pixels", "--layer")


def test_inspect_lists_the_detections(gradviz: Gradviz, model: Path, photo: Path) -> None:
    result = gradviz("inspect", model, photo, *LETTERBOX)
    assert result.exit_code == 0, result.stderr
    assert "output  [1, 6, 10] detections of a detector\n" in result.stdout
    assert "boxes   10 suggested, 2 of them detections after suppression\n" in result.stdout
    assert "\n        class 0 (lamp), score 0.8" in result.stdout
    assert "seed    box:0" in result.stdout
    found = json.loads(gradviz("inspect", model, photo, *LETTERBOX, "--json").stdout)
    assert (found["detections"]["boxes"], found["detections"]["count"]) == (10, 2)
    assert found["detections"]["first"][0]["box"] == [40, 16, 56, 32]
    result = gradviz("inspect", model, "--input-size", "32x32", "--random-seed", 1)
    assert result.exit_code == 0, result.stderr


def test_a_card_with_another_form(gradviz: Gradviz, model: Path, photo: Path) -> None:
    model.with_suffix(".yaml").write_text("boxes: cxcy\n")
    failed(gradviz("saliency", model, photo), 2, "boxes must be xyxy, xywh or cxcywh, got 'cxcy'")


def test_the_report_and_figures_show_the_detection(
    gradviz: Gradviz, model: Path, photo: Path
) -> None:
    result = gradviz("saliency", model, photo, *LETTERBOX, "--seed", "box:0", "--figure", "a.svg")
    assert result.exit_code == 0, result.stderr
    assert "class 0 (lamp), score 0.8" in Path("a.svg").read_text()
    page = report([read_input("gradviz-out")], images=True).html
    assert '"path": "M20,16 28,16 28,24 20,24 20,16"' in page
    assert "box 40.0, 16.0, 56.0, 32.0" in page


def test_check_and_inspect_take_seeds_on_boxes(gradviz: Gradviz, model: Path, photo: Path) -> None:
    result = gradviz("check", model, photo, *LETTERBOX, "--seed", "box:0")
    assert result.exit_code == 0, result.stderr
    result = gradviz("inspect", model, photo, *LETTERBOX, "--seed", "box:0")
    assert result.exit_code == 0, result.stderr
    assert "seed    box:0" in result.stdout
