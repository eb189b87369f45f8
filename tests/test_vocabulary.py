"""One word, one meaning: no public name of gradviz stands for two things."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.paths import ROOT

GRADVIZ = ROOT / "gradviz"

SHARED = {"command", "EPILOG"}
"""What every module of a command in `cli/` has, by the same name."""

FACES = {"explore", "receptive_field", "report", "saliency", "main"}
"""Functions that wear the name of a command: in `cli/`, and where it is called from Python."""


def public_names(module: Path) -> Iterator[str]:
    """The classes, functions, constants and aliases that a module defines at its top level."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                names = [
                    each.id
                    for target in targets
                    for each in ast.walk(target)
                    if isinstance(each, ast.Name)
                ]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                names = []
        yield from (name for name in names if not name.startswith("_"))


def test_no_public_name_stands_for_two_things() -> None:
    definitions: defaultdict[str, list[str]] = defaultdict(list)
    for module in sorted(GRADVIZ.rglob("*.py")):
        for name in set(public_names(module)):
            definitions[name].append(module.relative_to(GRADVIZ).as_posix())
    twice = {name: modules for name, modules in definitions.items() if len(modules) > 1}
    assert twice.keys() >= SHARED, "the names are not found where they are"
    unexpected = twice.keys() - SHARED - FACES
    assert not unexpected, {name: twice[name] for name in sorted(unexpected)}
