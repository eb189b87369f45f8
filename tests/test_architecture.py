"""The shape of gradviz: which part may import which, and what the core never does."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter

from tests.helpers.paths import ROOT

VALUES = {
    "arrays",
    "descriptors",
    "detections",
    "errors",
    "files",
    "labels",
    "layout",
    "marks",
    "strict_yaml",
    "text",
    "version",
    "watch",
    "stored_arrays",
}
"""What everything may use."""

MAY_USE: dict[str, set[str]] = {
    "__main__": {"cli"},
    "__init__": {"api", "model"},
    "cli": {
        "commands",
        "figure",
        "table",
        "runs",
        "seeds",
        "backward",
        "heatmap",
        "model",
        "image",
    },
    "api": {"commands", "runs", "field", "seeds", "backward", "model", "image"},
    "commands": {
        "figure",
        "table",
        "runs",
        "field",
        "seeds",
        "backward",
        "heatmap",
        "model",
        "image",
    },
    "figure": {"runs", "heatmap", "image"},
    "table": {"runs"},
    "runs": {"model", "image"},
    "field": {"seeds", "backward", "heatmap", "model", "image"},
    "seeds": {"image"},
    "backward": {"image"},
    "heatmap": {"image"},
    "model": {"image"},
    "image": set(),
}
"""Which part of gradviz may import which, besides the values."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of gradviz, by its dotted name below the package."""
    for file in sorted((ROOT / "gradviz").rglob("*.py")):
        path = file.relative_to(ROOT / "gradviz").with_suffix("")
        yield ".".join(path.parts), ast.parse(file.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    """The dotted names that a module imports, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if node.module == "gradviz" else [str(node.module)]


def part(module: str) -> str:
    """The part of gradviz that a module belongs to."""
    return module.partition(".")[0]


def test_imports_go_in_one_direction() -> None:
    for name, tree in modules():
        for imported in imports(tree):
            package, _, module = imported.partition(".")
            here, there = part(name), part(module)
            if package == "gradviz" and here != there and there not in VALUES:
                assert there in MAY_USE.get(here, set()), f"{name} imports {imported}"


USES = {"explore": {"explore", "saliency"}}
"""The commands that use another: what the page shows is what `saliency` writes."""


def test_no_command_uses_another() -> None:
    for name, tree in modules():
        if name.startswith("commands."):
            room = name.split(".")[1]
            rooms = {i.split(".")[2] for i in imports(tree) if i.startswith("gradviz.commands.")}
            assert rooms <= USES.get(room, {room}), name


def test_no_module_imports_itself_by_a_detour() -> None:
    """Imports within functions and for type checkers count as well."""
    names = {name.removesuffix(".__init__") for name, _ in modules()}
    graph = {
        name: {i.removeprefix("gradviz.") for i in imports(tree)} & names - {name}
        for name, tree in modules()
        if name != "__init__"
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_values_use_values_only() -> None:
    for name, tree in modules():
        if part(name) in VALUES:
            ours = (i.partition(".")[2] for i in imports(tree) if i.startswith("gradviz."))
            assert {part(module) for module in ours} <= VALUES, name


def test_the_table_names_every_part() -> None:
    assert {part(name) for name, _ in modules()} == MAY_USE.keys() | VALUES


def test_only_the_command_line_knows_typer_and_rich() -> None:
    importers: dict[str, set[str]] = {}
    for name, tree in modules():
        for imported in imports(tree):
            importers.setdefault(imported.partition(".")[0], set()).add(part(name))
    assert importers["typer"] == importers["rich"] == {"cli"}
    assert not {"click", "torchvision", "timm"} & importers.keys()


def test_the_core_never_prints_and_never_exits() -> None:
    for name, tree in modules():
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if part(name) != "cli":
            assert not {"print", "exit", "sys.exit"} & calls, name


def test_no_folder_and_no_module_is_too_full() -> None:
    """A reader sees a folder at a glance; tables and declarations may be longer."""
    folders = Counter(name.rpartition(".")[0] for name, _ in modules() if "__" not in name)
    assert max(folders.values()) <= 16
    long = {
        file.relative_to(ROOT / "gradviz").as_posix()
        for file in (ROOT / "gradviz").rglob("*.py")
        if len(file.read_text(encoding="utf-8").splitlines()) > 400
    }
    assert long <= {"cli/options.py", "runs/schema.py", "seeds/kinds.py"}
