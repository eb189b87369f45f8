"""The measurements that benchmarks keep and docs/benchmarks.md quotes. No test measures a time."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.measurement import Measurement
from benchmarks.timing import fresh, in_turns, times
from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")

FAST = Measurement("pass", "Captum", (1.5, 2.5, 2.25), "×", least=2)
SLOW = Measurement("shell", "script", (1.5,), "×", most=1.25)
PLAIN = Measurement("rate", "", (float("nan"), 123.4), "GFLOP/s", remark="of matrices")


def test_a_measurement_is_the_median_and_held_against_its_bounds() -> None:
    assert (FAST.value, FAST.wanted, FAST.holds, FAST.measured) == (
        2.25,
        "at least 2",
        True,
        "2.25 ×",
    )
    assert (SLOW.wanted, SLOW.holds) == ("at most 1.25", False)
    assert (PLAIN.wanted, PLAIN.holds) == ("", None)
    both = Measurement("", "", (1.0,), "", least=1, most=1)
    assert (both.wanted, both.holds) == ("at least 1, at most 1", True)
    assert not Measurement("", "", (0.9,), "", least=1, most=2).holds


@pytest.mark.parametrize(
    "value, text",
    [(645.4, "645 ×"), (0.912, "0.912 ×"), (1234.5, "1234 ×"), (8e-8, "8e-08 ×"), (2.0, "2 ×")],
)
def test_a_measurement_is_told_in_three_digits(value: float, text: str) -> None:
    assert Measurement("", "", (value,), "×").measured == text


def test_what_is_kept_is_strict_json_and_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "results" / "here.json"
    where = record.environment()
    record.write(file, where, {"single_pass": [FAST, PLAIN], "cold_start": [SLOW]})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
    kept = document["measurements"]["single_pass"]
    assert kept[0]["values"] == [1.5, 2.5, 2.25]
    assert (kept[0]["value"], kept[0]["wanted"], kept[0]["holds"]) == (2.25, "at least 2", True)
    assert kept[1]["values"] == [None, 123.4]
    assert {"cpu", "cores", "threads", "memory_gib", "os", "python", "torch", "device"} <= (
        document["environment"].keys()
    )
    back, measurements = record.read(file)
    assert back == where
    assert measurements["cold_start"] == [SLOW]


def test_one_benchmark_again_leaves_the_others_of_the_same_machine(tmp_path: Path) -> None:
    file = tmp_path / "here.json"
    where = record.environment()
    record.write(
        file, {**where, "date": "2001-01-01"}, {"single_pass": [FAST], "cold_start": [SLOW]}
    )
    record.write(file, where, {"cold_start": [PLAIN, FAST]})
    measurements = record.read(file)[1]
    assert (measurements["single_pass"], len(measurements["cold_start"])) == ([FAST], 2)
    record.write(file, {**where, "torch": "another"}, {"cold_start": [SLOW]})
    assert record.read(file)[1] == {"cold_start": [SLOW]}


def test_the_page_quotes_a_record() -> None:
    named = re.findall(r"\(\.\./benchmarks/results/([\w.-]+)\)", PAGE)
    assert len(named) == 1
    (quoted,) = record.QUOTED.findall(PAGE)
    assert quoted == record.quotation(record.RESULTS / named[0])


def test_the_page_says_what_falls_short(tmp_path: Path) -> None:
    file = tmp_path / "here.json"
    record.write(file, record.environment(), {"single_pass": [FAST, PLAIN], "cold_start": [SLOW]})
    text = record.quotation(file)
    assert "| pass | Captum | at least 2 × | 2.25 × |\n" in text
    assert "| shell | script | at most 1.25 × | 1.5 × (falls short) |\n" in text
    assert "rate" not in text, "a measurement without a bound"
    assert record.QUOTED.sub("", f"before\n\n{text}\nafter\n") == "before\n\n\nafter\n"


def test_works_are_done_in_turns() -> None:
    done: list[str] = []
    works = {name: lambda name=name: done.append(name) for name in "ab"}
    taken = in_turns(works, rounds=2, warm=1)
    assert done == ["a", "b"] * 3
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 2, "b": 2}
    assert times((2.0, 9.0), (1.0, 3.0)) == (2.0, 3.0)


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
def test_memory_is_that_of_the_process_not_of_the_one_that_started_it() -> None:
    ballast = bytearray(b"x") * (300 << 20)
    bare = fresh("-c", "pass").gib
    assert bare < 0.1
    full = fresh("-c", "bytearray(b'x') * (200 << 20)").gib
    assert full - bare == pytest.approx(200 / 1024, rel=0.05)
    assert len(ballast) == 300 << 20
