"""The vocabulary page, and where a reader of the tree's file names must find thirty things."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "vocabulary.md").read_text(encoding="utf-8")
WHERE = json.loads((ROOT / "tests" / "data" / "where.json").read_text(encoding="utf-8"))

WORDS = """
activation, activation rule, attribution, baseline, card, completeness, cotangent, effective field,
frame, halo, heatmap, layer, method, padding, probe, random seed, receptive field, recipe, run,
sampler, scale, score, seed, shard, stride, structural field, tile, view
"""
"""The words that the page must explain, whatever others it has."""


def rows() -> Iterator[list[str]]:
    """The cells of every row of the page's tables: word, meaning, source, and where it is."""
    for line in PAGE.splitlines():
        if line.startswith("| **"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def definitions(file: Path) -> Iterator[str]:
    """The names that a module defines: `function`, `CONSTANT`, `Class` and `Class.method`."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name):
                yield name
            case ast.ClassDef(name, body=body):
                yield name
                yield from (f"{name}.{n.name}" for n in body if isinstance(n, ast.FunctionDef))
            case ast.Assign(targets):
                yield from (
                    t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)
                )
            case ast.AnnAssign(ast.Name(name)):
                yield name


def test_every_word_has_one_meaning_a_source_and_a_place() -> None:
    words = [re.sub(r"\*", "", row[0]) for row in rows()]
    assert len(words) == len(set(words))
    assert set(re.split(r",\s+", WORDS.strip())) <= set(words)
    for word, meaning, source, where in rows():
        assert len(meaning) > 20 and source, word
        for path in re.findall(r"`([^`]+)`", where):
            assert (ROOT / "gradviz" / path).exists(), f"{word}: {path}"


def test_every_source_can_be_looked_up() -> None:
    """A source is a link to a paper, a book or a documentation, or says that there is none."""
    for word, _, source, _ in rows():
        assert re.search(r"\]\(https://\S+\)", source) or source == "the house's own", word


def test_thirty_questions() -> None:
    assert len(WHERE) == 30 == len({row["question"] for row in WHERE})
    assert all(row["question"].startswith("Where ") for row in WHERE)


@pytest.mark.parametrize("row", WHERE, ids=lambda row: row["symbol"])
def test_a_thing_is_in_the_file_that_its_name_promises(row: dict[str, str]) -> None:
    files = [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / "gradviz").rglob("*.py"))
        if row["symbol"] in definitions(file)
    ]
    assert files == [row["file"]], row["question"]
