"""Names and phrases for people."""

from __future__ import annotations

import pytest

from gradviz.text import short_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["out/a", "out/b"], ["a", "b"]),
        (["one/run", "two/run/"], ["one/run", "two/run"]),
        (["/x/one/run", "/y/one/run", "/y/b"], ["x/one/run", "y/one/run", "y/b"]),
        (["run", "old/run"], ["run", "old/run"]),
        (["out/a", "out/a", "out/b"], ["a", "a", "b"]),
        (["."], ["."]),
    ],
)
def test_runs_are_named_by_what_tells_them_apart(paths: list[str], names: list[str]) -> None:
    assert short_names(paths) == names
