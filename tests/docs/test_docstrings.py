"""Docstrings are plain: each names its thing, and the examples in them run."""

from __future__ import annotations

import ast
import doctest
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import gradviz
from tests.helpers.paths import ROOT

RIDDLES = {
    *("That of", "Those of", "Of", "What", "Whether", "Which", "Where", "How", "Why"),
    *("As", "At", "By", "For", "In"),
}
"""First words of a docstring that does not name its thing."""

FOR_USERS = [
    gradviz.explore,
    gradviz.load_model,
    gradviz.receptive_field,
    gradviz.saliency,
    gradviz.wrap,
]


def docstrings(module: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of all docstrings of a module, those of its values included."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        for before, statement in pairwise([node, *node.body]):
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))) if isinstance(
                    before, documented
                ):
                    yield statement.lineno, text


def begins_with_riddle(text: str) -> bool:
    return any(text.startswith(f"{words} ") for words in RIDDLES)


def test_every_docstring_names_its_thing() -> None:
    found = {
        f"{module.relative_to(ROOT)}:{line}": text
        for module in sorted((ROOT / "gradviz").rglob("*.py"))
        for line, text in docstrings(module)
    }
    assert len(found) > 1000, "the docstrings are not found where they are"
    riddles = {
        place: text.split("\n")[0] for place, text in found.items() if begins_with_riddle(text)
    }
    assert not riddles


@pytest.mark.parametrize("function", FOR_USERS, ids=lambda function: function.__name__)
def test_the_examples_for_users_hold(
    function: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    examples = doctest.DocTestFinder(recurse=False).find(function, function.__name__)
    runner = doctest.DocTestRunner()
    output: list[str] = []
    tried = failed = 0
    for example in examples:
        result = runner.run(example, out=output.append)
        tried, failed = tried + result.attempted, failed + result.failed
    assert tried, "no example"
    assert not failed, "".join(output)
