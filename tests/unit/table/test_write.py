"""CSV files: what other readers find in them, and what is not replaced."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from gradviz.errors import UsageError
from gradviz.table.columns import Row
from gradviz.table.write import check_table, write_table


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_numbers_are_read_back_as_they_were(tmp_path: Path) -> None:
    numbers = [0.1, 1 / 3, -2.5e-308, 1e22, 7, 2**60]
    write_table(tmp_path / "t.csv", ["x"], [{"x": number} for number in numbers])
    assert [float(row["x"]) for row in read(tmp_path / "t.csv")] == numbers


def test_what_is_no_number_or_is_not_there_is_empty(tmp_path: Path) -> None:
    rows: list[Row] = [{"x": math.nan}, {"x": -math.inf}, {"x": None}, {}, {"x": 0.0}]
    write_table(tmp_path / "t.csv", ["x", "y"], rows)
    assert [row["x"] for row in read(tmp_path / "t.csv")] == ["", "", "", "", "0.0"]


def test_the_bytes_are_those_of_the_standard(tmp_path: Path) -> None:
    rows: list[Row] = [{"a": 'one, "two"', "b": "é\nx"}, {"a": "odd\udcff", "b": True}]
    write_table(tmp_path / "deep/t.csv", ["a", "b"], rows)
    assert (tmp_path / "deep/t.csv").read_bytes() == (
        b'a,b\r\n"one, ""two""","\xc3\xa9\nx"\r\nodd\\udcff,True\r\n'
    )


def test_a_file_is_replaced_only_if_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    check_table(path, replaces=False)
    path.touch()
    check_table(path, replaces=True)
    with pytest.raises(UsageError, match=r"t\.csv: is there already; give --overwrite"):
        check_table(path, replaces=False)
    with pytest.raises(UsageError, match=r"expected a file that ends in \.csv"):
        check_table(tmp_path / "photo.png", replaces=True)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_table(tmp_path / "folder.csv", replaces=True)
