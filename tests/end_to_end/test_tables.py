"""`--csv`: the numbers of the tables are those of the documents."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gradviz.table.columns import FIELD_COLUMNS, RESULT_COLUMNS
from tests.helpers.commands import Gradviz
from tests.helpers.formats import script


@pytest.fixture
def photos(gradviz: Gradviz) -> Path:
    folder = Path("photos")
    folder.mkdir()
    for n, name in enumerate(("a, b.png", "c.png")):
        Image.new("RGB", (6, 4), (40 * n, 90, 200)).save(folder / name)
    return folder


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def blur(number: float) -> str:
    return script(
        f"torch.nn.functional.avg_pool2d(x, 3, 1, 1).sum(1, keepdim=True) * {number}",
        f"blur{number}.ts",
    )


def test_the_results_of_a_run(gradviz: Gradviz, photos: Path) -> None:
    (photos / "d.png").write_text("no picture")
    seeds = ["--seed", "ones", "--seed", "pixel:1,2"]
    result = gradviz(
        "saliency", blur(2), "photos", *seeds, "-o", "out/one", "--csv", "t.csv", "--json"
    )
    assert result.exit_code == 4
    lines = json.loads(result.stdout)["results"]
    rows = read("t.csv")
    assert [*rows[0]] == ["run", "image", "seed", *RESULT_COLUMNS]
    assert len(rows) == len(lines) == 6
    for row, line in zip(rows, lines, strict=True):
        assert (row["run"], row["image"], row["seed"]) == ("one", line["image"], line["seed"])
        assert row["status"] == line["status"]
        if line["status"] == "error":
            assert (row["error"], row["score"], row["l2"]) == ("ImageError", "", "")
            continue
        assert float(row["score"]) == line["score"]
        for name in ("min", "max", "abs_mean", "l2", "zero_fraction", "nonfinite", "scale"):
            assert float(row[name]) == line["stats"][name]
        assert json.loads(row["output_shape"]) == line["output_shape"]
    assert str(Path.cwd()) not in Path("t.csv").read_text()


def test_the_fields_of_a_run(gradviz: Gradviz, photos: Path) -> None:
    result = gradviz(
        "receptive-field", blur(1), "photos", "--pixel", "2,1", "-o", "f", "--csv", "t.csv"
    )
    assert result.exit_code == 0, result.stderr
    fields = json.loads(Path("f/field.json").read_text())["fields"]
    rows = read("t.csv")
    assert [*rows[0]] == ["run", "image", "seed", *FIELD_COLUMNS]
    assert [row["image"] for row in rows] == ["a, b.png", "c.png", "mean"]
    for row in rows:
        (field,) = (each for each in fields if each["image"] == row["image"])
        effective = field["effective"]
        assert row["seed"] == "pixel:2,1"
        assert [int(row[f"effective_{n}"]) for n in (20, 30, 50, 99)] == [
            effective["squares"][str(n)] for n in (20, 30, 50, 99)
        ]
        assert [float(row["sigma_x"]), float(row["sigma_y"])] == effective["sigma"]
        assert [int(row[side]) for side in ("x0", "y0", "x1", "y1")] == field["box"] == [1, 0, 3, 2]
        assert (row["network_width"], row["stride_y"], row["field"]) == ("3", "1", "exact")


def test_the_comparison_of_three_runs(gradviz: Gradviz, photos: Path) -> None:
    for number in (1, 1.5, 2):
        assert gradviz("saliency", blur(number), "photos", "-o", f"r{number}").exit_code == 0
    result = gradviz("compare", "r1", "r1.5", "r2", "--csv", "t.csv", "--json")
    assert result.exit_code == 6
    rows = read("t.csv")
    assert [(row["image"], row["run"]) for row in rows] == [
        (image, run) for image in ("a, b.png", "c.png") for run in ("r1", "r1.5", "r2")
    ]
    items: dict[Any, Any] = {
        (item["image"], item["run"]): item for item in json.loads(result.stdout)["items"]
    }
    for n, row in enumerate(rows):
        place = n % 3
        assert float(row["l2"]) == pytest.approx(float(rows[n - place]["l2"]) * (1, 1.5, 2)[place])
        if place == 0:
            assert (row["ok"], row["gradient_max"], row["problems"]) == ("", "", "")
            continue
        item = items[row["image"], place]
        assert row["ok"] == str(item["ok"]) == "False"
        for metric, value in item["measured"]["gradient"].items():
            assert float(row[f"gradient_{metric}"]) == value


def test_a_result_that_a_later_run_lacks_is_an_empty_row(gradviz: Gradviz, photos: Path) -> None:
    gradviz("saliency", blur(1), "photos", "-o", "all")
    gradviz("saliency", blur(1), "photos/c.png", "-o", "one")
    assert gradviz("compare", "all", "one", "--csv", "t.csv", "-q").exit_code == 6
    lacking = [row for row in read("t.csv") if row["status"] == ""]
    assert [(row["run"], row["image"], row["ok"]) for row in lacking] == [
        ("one", "a, b.png", "False")
    ]
    assert lacking[0]["problems"] == "1"


@pytest.mark.parametrize("command", ["saliency", "receptive-field", "compare"])
def test_a_table_is_not_replaced_unasked(gradviz: Gradviz, photos: Path, command: str) -> None:
    gradviz("saliency", blur(1), "photos", "-o", "a")
    Path("mine.csv").write_text("mine")
    given = {"compare": ["a", "a"]}.get(command, [blur(1), "photos", "-o", "out"])
    refused = gradviz(command, *given, "--csv", "mine.csv")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: --csv mine.csv: is there already; give --overwrite")
    assert Path("mine.csv").read_text() == "mine"
    assert not Path("out").exists()
    assert gradviz(command, *given, "--csv", "mine.csv", "--overwrite").exit_code == 0
    assert len(read("mine.csv")) >= 2


def test_shards_leave_the_table_to_the_run_that_has_all(gradviz: Gradviz, photos: Path) -> None:
    run = ["saliency", blur(1), "photos", "-o", "out", "--batch-size", "1"]
    refused = gradviz(*run, "--shard", "1/2", "--csv", "t.csv")
    assert refused.exit_code == 2
    assert "--csv t.csv: one shard has not all results; leave it out" in refused.stderr
    for shard in ("1/2", "2/2"):
        assert gradviz(*run, "--shard", shard).exit_code == 0
    assert gradviz(*run, "--resume", "--csv", "t.csv").exit_code == 0
    assert [row["image"] for row in read("t.csv")] == ["a, b.png", "c.png"]
    assert gradviz(*run, "--resume", "--csv", "t.csv").exit_code == 0


def test_several_models_have_no_table_in_common(gradviz: Gradviz, photos: Path) -> None:
    blur(1)
    given = ("photos", "-o", "out", "--csv", "t.csv")
    refused = gradviz("saliency", "--each", "blur*.ts", *given)
    assert refused.exit_code == 2
    assert "--csv: one file cannot have the results of several models" in refused.stderr
    assert not Path("t.csv").exists()
