"""The exit code of a run, case by case of the contract."""

from __future__ import annotations

import pytest

from gradviz.runs.schema import ResultLine, parse_line
from gradviz.runs.verdict import exit_code
from tests.helpers import documents


def lines(*rows: str) -> list[ResultLine]:
    """Rows such as `a:ones:ok` or `a:ones:ImageError`."""
    made: list[ResultLine] = []
    for row in rows:
        image, seed, status = row.split(":")
        if status == "ok":
            made.append(parse_line(documents.done(image, seed, {})))
        else:
            made.append(parse_line(documents.failed(image, seed or None, type=status)))
    return made


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], 0),
        (["a:ones:ok"], 0),
        (["a:ones:ok", "b:ones:ok"], 0),
        # A single image's failure has its cause's own code.
        (["a:ones:ImageError"], 2),
        (["a:ones:ModelError"], 3),
        (["a:ones:ok", "a:pixel:SeedError"], 2),
        (["a:ones:ModelError", "a:pixel:SeedError"], 3),
        # Some images of several, or all of them.
        (["a:ones:ImageError", "b:ones:ok"], 4),
        (["a:ones:ImageError", "b:ones:ImageError"], 4),
        (["a:ones:ModelError", "b:ones:ok"], 4),
        (["a:pixel:SeedError", "b:pixel:ok"], 4),
        # What fails on every image that could be read is wrong as such.
        (["a:pixel:SeedError", "b:pixel:SeedError"], 2),
        (["a:pixel:SeedError", "b:pixel:SeedError", "c:pixel:ImageError"], 2),
        (["a:pixel:SeedError", "b:pixel:SeedError", "a:ones:ok", "b:ones:ok"], 2),
        (["a:ones:ModelError", "b:ones:ModelError"], 3),
        # Without --seed an early failure does not know the default seed's name.
        (["a::ModelError", "b:ones:ok"], 4),
        (["a::ModelError", "b::ModelError"], 3),
    ],
)
def test_exit_code(rows: list[str], code: int) -> None:
    assert exit_code(lines(*rows)) == code
