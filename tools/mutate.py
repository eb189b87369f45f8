"""Break the code of gradviz, one small change at a time, and count what the tests notice.

    python tools/mutate.py --count 100
    python tools/mutate.py --count 20 --only gradviz/field

The code is what computes numbers, and what keeps the folders of runs. A change is a bound that
moves, a minimum for a maximum, a sum for a difference, a number that is another one, a condition
turned around, a call left out. Each is made in a copy of the tree, and the tests of its folder are
run there until one fails. What no test notices is listed, with its line. `--seed` draws other
changes.

Changes that leave every number as it is are in `EQUIVALENT`, with the reason, and are not drawn.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

TESTS = {
    "gradviz/backward": ["unit/backward", "oracles/test_gradients.py", "oracles/test_layers.py",
                         "oracles/test_methods.py"],
    "gradviz/field": ["unit/field", "oracles/test_structural_oracles.py",
                      "oracles/test_structural_operations.py",
                      "end_to_end/test_receptive_field.py"],
    "gradviz/seeds": ["unit/seeds"],
    "gradviz/heatmap": ["unit/heatmap"],
    "gradviz/image": ["unit/image", "end_to_end/test_other_inputs.py"],
    "gradviz/commands/check": ["unit/commands/check", "end_to_end/test_check.py"],
    "gradviz/commands/compare": ["unit/commands/compare", "end_to_end/test_compare.py"],
    "gradviz/commands/receptive_field": ["unit/field", "unit/commands",
                                         "end_to_end/test_receptive_field.py"],
    "gradviz/commands/saliency": ["unit/commands/saliency", "oracles/test_methods.py",
                                  "end_to_end/test_methods.py", "end_to_end/test_expect.py",
                                  "end_to_end/test_pictures.py"],
    "gradviz/model/fast.py": ["unit/model/test_fast.py"],
    "gradviz/model/outputs.py": ["unit/model/test_outputs.py", "unit/model/test_fast.py"],
    "gradviz/runs/expectations.py": ["unit/runs"],
    "gradviz/runs/lock.py": ["unit/runs/test_lock.py", "robustness/faults/test_outside.py"],
    "gradviz/runs/reader.py": ["unit/commands/report", "robustness/fuzz/test_run_folders.py"],
    "gradviz/runs/": ["unit/runs", "robustness/faults/test_outside.py",
                      "robustness/faults/test_out.py", "end_to_end/test_resume.py",
                      "end_to_end/test_written_by_0_1_0.py", "robustness/fuzz/test_run_folders.py"],
}  # fmt: skip
"""The tests of each folder or file, those first that are likely to notice. The first row counts."""

WITH_PROCESSES = ("gradviz/runs/lock.py",)
"""Files whose tests include those that start processes."""

TABLES = ("schema.py",)
"""Files without computation."""

KINDS: dict[str, dict[type[ast.AST], type[ast.AST]]] = {
    "comparison": {
        ast.Lt: ast.LtE,
        ast.LtE: ast.Lt,
        ast.Gt: ast.GtE,
        ast.GtE: ast.Gt,
        ast.Eq: ast.NotEq,
        ast.NotEq: ast.Eq,
    },
    "arithmetic": {
        ast.Add: ast.Sub,
        ast.Sub: ast.Add,
        ast.Mult: ast.Div,
        ast.Div: ast.Mult,
        ast.FloorDiv: ast.Mult,
        ast.BitOr: ast.BitAnd,
        ast.BitAnd: ast.BitOr,
    },
    "logic": {ast.And: ast.Or, ast.Or: ast.And},
}
"""Operators, and what each becomes."""

CALLS = {
    **{"min": "max", "max": "min", "any": "all", "all": "any", "amax": "amin", "amin": "amax"},
    **{"ceil": "floor", "floor": "ceil", "sum": "mean", "mean": "sum"},
}
"""Functions, and what each becomes."""

EQUIVALENT: dict[tuple[str, str], str] = {
    **dict.fromkeys(
        [
            ("gradviz/backward/vjp.py", "LARGEST_SCALE, LEAST_SCALE ="),
            ("gradviz/backward/vjp.py", "while scale > LEAST_SCALE:"),
        ],
        "a scale that is too large is tried, overflows and is lowered; only where to end is chosen",
    ),
    (
        "gradviz/commands/saliency/attribute.py",
        "read, pulled = _read(forward, v, each, retain_graph",
    ): ("how long the graph of a pass stays in memory"),
    ("gradviz/commands/compare/write.py", "folder.check(overwrite=overwrite, resume=False)"): (
        "`held` checks the same again, before anything is written"
    ),
    (
        "gradviz/commands/saliency/write.py",
        "PNG: dict[str, Any] =",
    ): "how small a picture's file is",
    ("gradviz/commands/saliency/result.py", "for part in strips(values.size, 1):"): (
        "how much memory a strip takes"
    ),
    ("gradviz/commands/saliency/tiled.py", "and input_pixels(tiles) > width * height / 2"): (
        "parts that are exactly half of the image, and cost as much as the whole"
    ),
    ("gradviz/field/boxes.py", "low, high = (0, len(reached) - 1) if measured is None else"): (
        "what lies beyond is found, and every pixel is measured by itself"
    ),
    ("gradviz/field/dependence/rules.py", "allowed = torch.ones(query.shape[-2], key.shape[-2]"): (
        "queries and keys have four axes, so that the last but one is the third"
    ),
    ("gradviz/field/geometry.py", "if (high < low).any() or (high - low).max() > length // 3:"): (
        "a field that does not fit in the share is measured on a longer input"
    ),
    ("gradviz/field/reach/extents.py", "NOWHERE ="): "any place that no map has",
    ("gradviz/field/tiles.py", "first = min(self.field.extent(i)[0] for i in range(start"): (
        "later fields begin later, so that it does not matter how many more are looked at"
    ),
    ("gradviz/field/trial.py", "SMALL_INPUT ="): "how large the input of a trial may be",
    ("gradviz/field/dependence/trace.py", "super().__init__()"): "torch's own does nothing",
    ("gradviz/commands/check/finite_differences.py", "if noise <= allowed"): (
        "a noise that is the bound to the last bit; the other changes of the line are noticed"
    ),
    ("gradviz/heatmap/draw.py", "STRIP_PIXELS ="): "how much memory a strip takes",
    ("gradviz/heatmap/draw.py", "if values.shape[-2:] == size[::-1]:"): (
        "maps of the picture's own size are resized to that size, which leaves them as they are"
    ),
    ("gradviz/runs/durable.py", "SHARE ="): "how often files are made safe",
    ("gradviz/runs/folder.py", "CHUNK ="): "how much is written at a time",
    ("gradviz/runs/folder.py", "IN_MEMORY ="): "where an array is put together",
    ("gradviz/runs/folder.py", "def array(self, name: str, mapped: bool = False)"): (
        "if an array is read at once or as it is used"
    ),
    ("gradviz/runs/shards.py", "shard = Shard(*map(int, found.groups())) if found else"): (
        "either is refused"
    ),
    ("gradviz/runs/workers.py", "THREADS ="): "how many threads work",
    ("gradviz/runs/workers.py", "return 0"): "everything weighs at least 1",
    ("gradviz/image/array.py", "if path.stat().st_size > SMALL_FILE:"): (
        "a file of 268,435,456 bytes, for which memory is short, and the message about it"
    ),
    ("gradviz/image/load.py", "@lru_cache(maxsize=1)"): "how many photos stay in memory",
    ("gradviz/model/fast.py", "TRIAL_SIDE ="): "how large the input of the trial is",
    ("gradviz/model/fast.py", "torch.manual_seed(0)"): "which random cotangent is tried",
    ("gradviz/model/fast.py", 'if model.device.type == "cpu" or'): "which layout is faster",
}
"""Lines by file and beginning, of which a change leaves every number as it is, and why. Each is a
choice of time or memory, or of one of many random numbers that serve alike."""

BROKEN = 99
"""The exit code of a process in which pytest could not run."""

SLOWEST = 600
"""Seconds of a processor after which a change counts as noticed: it made something endless."""

LONGEST = 3600
"""Seconds after which it does so on a busy machine, or if it waits for ever."""


@dataclass(frozen=True)
class Change:
    """One small change of one file."""

    path: Path
    """Relative to the root."""
    line: int
    what: str
    """What becomes what, for people."""
    text: str
    """The whole file, changed."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100, help="how many changes to try")
    parser.add_argument("--seed", type=int, default=0, help="what they are drawn from")
    parser.add_argument("--only", default="", help="files whose path begins so")
    options = parser.parse_args()
    changes = drawn(options.count, options.seed, options.only)
    # Imported once, for all the processes that run tests.
    import pytest  # noqa: F401
    import torch  # noqa: F401

    left = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(
            ROOT, tree, ignore=shutil.ignore_patterns(".git", ".*_cache", "__pycache__")
        )
        for number, change in enumerate(changes, 1):
            started = time.monotonic()
            seen = noticed(change, tree)
            took = time.monotonic() - started
            verdict = "noticed" if seen else "NOT NOTICED"
            where = f"{change.path}:{change.line}"
            print(f"{number:4} {verdict:12} {took:4.0f} s  {where}  {change.what}", flush=True)
            if not seen:
                left.append(change)
    print(f"\n{len(changes) - len(left)} of {len(changes)} noticed")
    for change in left:
        print(f"  {change.path}:{change.line}  {change.what}")
    return 0


def drawn(count: int, seed: int, only: str) -> list[Change]:
    """Draw so many changes, the same number from every file as far as it has them."""
    draws = random.Random(seed)
    paths: dict[Path, None] = {}
    for place in TESTS:
        found = ROOT / place
        paths |= dict.fromkeys(sorted(found.rglob("*.py") if found.is_dir() else [found]))
    files = [
        changes_of(path, draws)
        for path in paths
        if str(path.relative_to(ROOT)).startswith(only) and path.name not in TABLES
    ]
    draws.shuffle(files)
    changes: list[Change] = []
    while files and len(changes) < count:
        some = [(file, next(file, None)) for file in files]
        changes += [change for _, change in some if change is not None]
        files = [file for file, change in some if change is not None]
    return changes[:count]


def changes_of(path: Path, draws: random.Random) -> Iterator[Change]:
    """Every change of a file, one for each place, in a random order."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    file = str(path.relative_to(ROOT))
    alike = tuple(line for where, line in EQUIVALENT if where == file)
    places = list(range(sum(1 for _ in _nodes(ast.parse(text)))))
    draws.shuffle(places)
    for place in places:
        tree = ast.parse(text)
        node = next(islice(_nodes(tree), place, None))
        what = _changed(node)
        if what is not None:
            line = getattr(node, "lineno", 0)
            if not lines[line - 1].strip().startswith(alike):
                yield Change(path.relative_to(ROOT), line, what, ast.unparse(tree))


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it that computes: no annotations, and no decorators of classes."""
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns") and not (
            name == "decorator_list" and isinstance(node, ast.ClassDef)
        ):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _nodes(child)


def _changed(node: ast.AST) -> str | None:
    """Change one node in place; what it was and is, or None if it is not of the kinds."""
    before = ast.unparse(node) if isinstance(node, ast.expr | ast.Expr) else ""
    match node:
        case ast.If(test=test) | ast.IfExp(test=test):
            before = ast.unparse(test)
            node.test = ast.UnaryOp(ast.Not(), test)
            return f"if {before}  ->  if not"
        case ast.Expr(value=ast.Call()):
            node.value = ast.Constant(None)
        case ast.Constant(value=bool(value)):
            node.value = not value
        case ast.UnaryOp(op=ast.Not(), operand=value):
            node.operand = ast.UnaryOp(ast.Not(), value)
        case ast.Compare(ops=[operator]):
            node.ops = [_other("comparison", operator)]
        case ast.BinOp(op=operator):
            node.op = _other("arithmetic", operator)
        case ast.BoolOp(op=operator):
            node.op = _other("logic", operator)
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            node.func = ast.Name(CALLS[name], ast.Load())
        case ast.Call(func=ast.Attribute(attr=name, value=owner)) if name in CALLS:
            node.func = ast.Attribute(owner, CALLS[name], ast.Load())
        case ast.Constant(value=float(value)) if value:
            node.value = value * 2
        case ast.Constant(value=int(value)) if type(value) is int:
            node.value = value + 1
        case ast.UnaryOp(op=ast.USub()):
            node.op = ast.UAdd()
        case _:
            return None
    after = ast.unparse(node)
    return None if after == before else f"{before}  ->  {after}"


def _other(kind: str, operator: ast.AST) -> Any:
    return KINDS[kind].get(type(operator), type(operator))()


def noticed(change: Change, tree: Path) -> bool:
    """Whether a test fails with the change, or does not end."""
    tests = next(tests for place, tests in TESTS.items() if str(change.path).startswith(place))
    files = [
        str(path.relative_to(tree)) for name in tests for path in _test_files(tree / "tests" / name)
    ]
    # Those of the file's own name are the likeliest to notice.
    files.sort(key=lambda name: Path(name).stem != f"test_{change.path.stem}")
    place = tree / change.path
    whole = place.read_bytes()
    place.write_text(change.text, encoding="utf-8")
    try:
        child = os.fork()
        if child == 0:
            os.setsid()
            code = BROKEN
            resource.setrlimit(resource.RLIMIT_CPU, (SLOWEST, SLOWEST))
            try:
                code = _run(tree, files, str(change.path).startswith(WITH_PROCESSES))
            except BaseException:
                traceback.print_exc()
            os._exit(code)
        deadline = time.monotonic() + LONGEST
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended and os.waitstatus_to_exitcode(status) == BROKEN:
                raise RuntimeError("pytest cannot run")
            if ended:
                return status != 0
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return True
    finally:
        place.write_bytes(whole)


def _test_files(place: Path) -> list[Path]:
    return sorted(place.rglob("test_*.py")) if place.is_dir() else [place]


def _run(tree: Path, tests: list[str], processes: bool) -> int:
    """Run tests in the changed tree; 0 if all pass."""
    import pytest

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    sys.path[:0] = [str(tree)]
    sys.dont_write_bytecode = True
    # The same examples each time, so that a failure is the change's.
    shutil.rmtree(tree / ".hypothesis", ignore_errors=True)
    options = [
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--hypothesis-seed=0",
        "-m",
        "not browser" if processes else "not process and not browser",
    ]
    return int(pytest.main([*options, *tests]))


if __name__ == "__main__":
    sys.exit(main())
