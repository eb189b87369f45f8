"""The chart of effective fields: whose numbers are in it, and when there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradviz.commands.compare.comparison import Comparison, compare
from gradviz.commands.compare.growth import can_grow, growth_of
from gradviz.commands.compare.write import write_comparison
from gradviz.heatmap.colours import load_palette
from gradviz.runs.resume import RunWriter
from tests.helpers import documents


def fields(folder: Path, sides: dict[str, int]) -> Path:
    """A receptive-field run of images, the halves of whose energy lie in squares of these sides."""
    folder.mkdir()
    squares = {name: {"20": 1, "30": 1, "50": side, "99": 9} for name, side in sides.items()}
    record = documents.run_record("receptive-field", [documents.image(name) for name in sides])
    (folder / "run.json").write_text(json.dumps(record))
    lines = [documents.field_done(name, "pixel:1,2", {}) for name in sides]
    (folder / "results.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    entries = []
    for name in sides:
        entry = documents.field(name, (1, 2), {}, size=[7, 11])
        entries.append({**entry, "effective": {**entry["effective"], "squares": squares[name]}})
    document = documents.field_document(entries, geometry=documents.geometry(), layers=[])
    (folder / "field.json").write_text(json.dumps(document))
    return folder


def compared(tmp_path: Path, runs: Sequence[dict[str, int]]) -> Comparison:
    return compare(*(fields(tmp_path / f"run{n}", sides) for n, sides in enumerate(runs)))


def test_lines_are_medians_between_quartiles_of_what_all_runs_have(tmp_path: Path) -> None:
    comparison = compared(
        tmp_path,
        [
            {"a": 1, "b": 3, "c": 5, "d": 7, "e": 9, "mean": 99, "f": 1},
            {"a": 3, "b": 3, "c": 3, "d": 3, "e": 13, "mean": 1},
            {"a": 5, "b": 5, "c": 7, "d": 7, "e": 7, "g": 1, "mean": 1},
        ],
    )
    series = {each.name: each for each in growth_of(comparison)}
    assert [*series] == [
        *(f"{n} % of the energy" for n in (20, 30, 50, 99)),
        "all that can matter",
    ]
    half = series["50 % of the energy"]
    assert (half.low, half.values, half.high) == ((3, 3, 5), (5, 3, 7), (7, 3, 7))
    assert series["all that can matter"].values == (11, 11, 11)


@pytest.mark.parametrize(
    ("runs", "grows"),
    [
        ([{"a": 1}, {"a": 3}], False),
        ([{"a": 1}, {"a": 3}, {"a": 5}], True),
        ([{"a": 1}, {"a": 3}, {"b": 5}], False),
    ],
)
def test_there_is_a_chart_of_more_than_two_runs_with_something_in_common(
    tmp_path: Path, runs: Sequence[dict[str, int]], grows: bool
) -> None:
    comparison = compared(tmp_path, runs)
    assert can_grow(comparison) == grows
    out = RunWriter(tmp_path / "out")
    document = write_comparison(comparison, out, load_palette(), ["gradviz"])
    assert (document.growth == "growth.png", (out.out / "growth.png").exists()) == (grows, grows)
    if grows:
        with Image.open(out.out / "growth.png") as picture:
            colours = np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)
        assert len(colours) > 5


def test_a_file_of_the_name_is_removed_with_its_comparison_only(tmp_path: Path) -> None:
    three, two = ([{"a": n} for n in range(1, count + 1)] for count in (3, 2))
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    grown, small = compared(tmp_path / "x", three), compared(tmp_path / "y", two)
    out = tmp_path / "out"
    out.mkdir()
    (out / "growth.png").write_text("mine")
    write_comparison(small, RunWriter(out), load_palette(), [])
    assert (out / "growth.png").read_text() == "mine"
    write_comparison(grown, RunWriter(out), load_palette(), [])
    write_comparison(small, RunWriter(out), load_palette(), [])
    assert not (out / "growth.png").exists()
