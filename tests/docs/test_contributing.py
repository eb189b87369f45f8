"""CONTRIBUTING.md and docs/development/: their paths exist, and their example works."""

from __future__ import annotations

import ast
import re
from types import ModuleType

import numpy as np
import pytest

from tests.docs.test_tables import code, table
from tools.run_docs import ROOT, Page, pages

PAGES = [p for p in pages() if p.name.startswith(("CONTRIBUTING", "docs/development/"))]
EXAMPLE = Page("CONTRIBUTING.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_exist(page: Page) -> None:
    text = re.findall(r"`([^`\n]+)`", page.text) + re.findall(r"^    (\S+)", page.text, re.M)
    words = {word for part in text for word in part.split()}
    paths = {word for word in words if "/" in word or re.search(r"\.(py|md)$", word)}
    paths -= {"write.py"}  # of the bad example of a commit message
    assert len(paths) > 1
    places = (ROOT, ROOT / "gradviz")
    assert [path for path in paths if not any([*place.glob(path)] for place in places)] == []


def test_the_targets_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for page in pages() for name in re.findall(r"`make (\w+)", page.text)}
    targets |= {command.line.split()[1] for page in pages() for command in page.commands
                if command.line.startswith("make ")}  # fmt: skip
    assert {"quick", "test", "demo", "bench", "fuzz", "lint"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_tables_named_exist() -> None:
    rows = table("what", "docs/development/where-to-add.md")
    tables = [(name, where) for row in rows for name in code(row[1]) for where in code(row[1])]
    found = 0
    for name, where in tables:
        if name.isupper() and where.endswith(".py"):
            assert re.search(rf"^{name}\b", (ROOT / where).read_text(), re.MULTILINE), name
            found += 1
    assert found == 18


# The example: add a view


def patched() -> dict[str, str]:
    """The files that the example changes, with its changes."""
    files: dict[str, str] = {}
    for block in re.findall(r"^```diff\n(.*?)^```$", EXAMPLE.text, re.MULTILINE | re.DOTALL):
        name, *lines = block.splitlines(keepends=True)
        name = name.removeprefix("--- ").strip()
        text = files.get(name) or (ROOT / name).read_text(encoding="utf-8")
        before = "".join(line[1:] for line in lines if line[0] == " ")
        assert text.count(before) == 1, f"{name} has changed: {before}"
        files[name] = text.replace(before, "".join(line[1:] for line in lines))
    return files


def test_the_example_changes_what_is_there() -> None:
    assert len(patched()) == 6


def test_the_view_of_the_example_passes_its_test() -> None:
    files = patched()
    views = ModuleType("views_of_the_example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, views.__name__, views)  # dataclasses look it up
        exec(compile(files["gradviz/heatmap/views.py"], "views.py", "exec"), vars(views))
    rows = [
        ast.literal_eval(row.strip().rstrip(","))
        for row in re.findall(
            r'^ +\("absolute", \[.*\n', files["tests/unit/heatmap/test_views.py"], re.M
        )
    ]
    g = np.array([[[1, -2], [0, 3]], [[1, 0], [0, 1]], [[-1, -2], [0, 4]]], np.float32)
    assert [(name, views.VIEWS[name].quantity(g).tolist()) for name, _ in rows] == rows


def test_the_example_keeps_one_order_of_views() -> None:
    files = patched()
    page = re.findall(r"^  (\w+): \{ quantity", files["gradviz/heatmap/web/paint.js"], re.M)
    guide = re.findall(r"^\| `(\w+)` \|", files["docs/guide/views.md"], re.MULTILINE)
    assert page == guide
    assert "absolute" in page
