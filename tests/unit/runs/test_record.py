"""The differences between the records of two runs."""

from __future__ import annotations

from typing import Any

import pytest

from gradviz.runs.record import changes_between, differences
from gradviz.runs.schema import RunRecord
from tests.helpers import documents


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a was 1, is 2"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c was 2, is 3"]),
        ({"a": {"b": 1}}, {"a": None}, ["a was {'b': 1}, is None"]),
        ({"a": 5}, {"a": {"b": 1}}, ["a was 5, is {'b': 1}"]),
        ({"a": 1}, {"b": 1}, ["a was 1, is None", "b was None, is 1"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a was [1, 2], is [1]"]),
        ({"a": [1, 2, 3, 4]}, {"a": [1, 2, 5]}, ["a: 1 added, 2 gone"]),
        ({"a": [1, 2, 3]}, {"a": [1, 2, 5]}, ["a was [1, 2, 3], is [1, 2, 5]"]),
        ({"a": [1, 2, 3, 4]}, {"a": [1, 2, 3, 4]}, []),
    ],
)
def test_differences(before: dict[str, Any], now: dict[str, Any], told: list[str]) -> None:
    assert [*differences(before, now)] == told


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("cuda:0", "cuda:1", []),
        ("cpu", "cuda:0", ["model.device was cpu, is cuda"]),
        ("cuda:1", "cpu", ["model.device was cuda, is cpu"]),
    ],
)
def test_shards_may_run_on_devices_of_one_kind(before: str, now: str, told: list[str]) -> None:
    records = [
        RunRecord.model_validate(
            documents.run_record("saliency", [], model={**documents.model(), "device": device})
        )
        for device in (before, now)
    ]
    assert [*changes_between(*records)] == told
