"""README.md, docs/support.md and CONTRIBUTING.md say what the code does."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from gradviz import errors
from gradviz.backward.methods import METHODS
from gradviz.cli.app import make_app
from gradviz.commands.compare.metrics import METRICS
from gradviz.errors import ExitCode, GradvizError
from gradviz.heatmap.views import VIEWS
from gradviz.image.preprocess import Preprocess
from gradviz.model.card import Card
from gradviz.seeds.kinds import KINDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKE = ROOT / "docs" / "pictures" / "make.py"
REMEDY = "run python docs/pictures/make.py, and look at what changed"


def load_make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_make", MAKE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


make = load_make()


def table(first: str, page: str = README) -> list[list[str]]:
    """The rows of the table whose first header begins with `first`, without its header."""
    lines = iter(page.splitlines())
    next(line for line in lines if line.startswith(f"| {first}"))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        cells = re.split(r"(?<!\\)\|", line.strip("|"))
        rows.append([cell.strip().replace("\\|", "|") for cell in cells])
    return rows


def code(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


# The commands


@dataclass(frozen=True)
class Ran:
    """The README, run."""

    folder: Path
    commands: list[dict[str, Any]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    # In a process of its own: the page's Python blocks import what they please.
    folder = tmp_path_factory.mktemp("readme")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(MAKE), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Ran(folder, json.loads((folder / make.TRANSCRIPT).read_text()))


def shown_as_pattern(shown: list[str]) -> str:
    pattern = re.escape("\n".join(shown)).replace("…", r"[\s\S]*?")
    return r"^" + re.sub(r"(\\ ){2,}", r"\\s+", pattern) + r"$"  # columns, however far apart


def test_every_command_ends_as_the_readme_says(ran: Ran) -> None:
    for command in ran.commands:
        if command["code"] is None:
            continue
        assert command["code"] == command["shown_code"], f"{command['line']}\n{command['printed']}"
        pattern = shown_as_pattern(command["shown"])
        if command["shown"]:
            assert re.search(pattern, command["printed"], re.MULTILINE), (
                f"{command['line']}\nprinted {command['printed']!r}, not as {pattern!r}"
            )


def test_only_what_prepares_a_computer_is_not_run(ran: Ran) -> None:
    not_run = [command["line"] for command in ran.commands if command["code"] is None]
    assert not_run == [
        "python3 -m venv .venv",
        ". .venv/bin/activate",
        "pip install -c constraints.txt -e .",
    ]
    assert sum(command["line"].startswith("gradviz") for command in ran.commands) > 15


def test_every_exit_code_shown_is_in_the_table(ran: Ran) -> None:
    known = {int(row[0]) for row in table("code")}
    shown = {command["shown_code"] for command in ran.commands}
    assert {2, 3, 4, 5, 6} <= shown <= known


def test_the_pattern_of_shown_output_can_fail() -> None:
    assert re.search(shown_as_pattern(["a … c", "…", "d"]), "a b c\nx\nd")
    assert re.search(shown_as_pattern(["a   b c"]), "a\tb c")
    assert not re.search(shown_as_pattern(["a   b c"]), "a\tb\tc")
    assert not re.search(shown_as_pattern(["a … c"]), "a b d")
    assert not re.search(shown_as_pattern(["error: no."]), "error: now")


def test_a_line_of_results_has_the_fields_of_the_table(ran: Ran) -> None:
    lines = [
        json.loads(row)
        for results in ran.folder.glob("*/results.jsonl")
        for row in results.read_text().splitlines()
    ]
    rows = table("in a line of `results.jsonl`")
    first = [code(row[0]) for row in rows]
    assert {name for names in first for name in names} == {name for line in lines for name in line}
    stats = next(row for row, names in zip(rows, first, strict=True) if names == ["stats"])
    measured = {name for line in lines for name in line.get("stats", ())}
    assert set(code(stats[1])) - {"--inside"} == measured


def test_run_json_has_the_parts_that_the_readme_names(ran: Ran) -> None:
    run = json.loads((ran.folder / "out" / "run.json").read_text())
    sentence = re.search(r"`run\.json` holds (.+?)\. ", README, re.DOTALL)
    assert sentence
    assert set(code(sentence[1])) == run.keys() - {"schema", "kind"}


def test_the_files_shown_are_written(ran: Ran) -> None:
    layout = re.search(r"```text\n(.+?)```", README, re.DOTALL)
    assert layout
    for line in layout[1].splitlines():
        assert (ran.folder / line.split()[0]).is_file(), line


def test_the_python_example_writes_its_pictures(ran: Ran) -> None:
    for name, seed in (("ones", "ones"), ("pixel", "pixel-64-48")):
        with (
            Image.open(ran.folder / f"{name}.png") as drawn,
            Image.open(ran.folder / f"out/room_01.png/{seed}/overlay.png") as written,
        ):
            difference = np.asarray(drawn, float) - np.asarray(written, float)
        assert np.abs(difference).mean() < 1  # another batch size rounds differently


# The pictures


@pytest.mark.parametrize("name", make.KEPT)
def test_a_picture_is_what_its_command_draws(ran: Ran, name: str) -> None:
    with (
        Image.open(make.PICTURES / name) as kept,
        Image.open(ran.folder / make.KEPT[name]) as drawn,
    ):
        assert kept.size == drawn.size, REMEDY
        difference = np.asarray(kept.convert("RGB"), float) - np.asarray(drawn, float)
    # Another processor rounds differently, and at a kink of the model a little shows.
    assert np.abs(difference).mean() < 3, f"{name}: {REMEDY}"


def test_the_pictures_of_a_field_are_those_of_the_command_beside_them(ran: Ran) -> None:
    kept = {"fields_depth_overlay.png": "overlay.png", "fields_depth_log.png": "effective.png"}
    assert set(re.findall(r"\(docs/pictures/(fields_\w+\.png)\)", README)) == kept.keys()
    for name, drawn in kept.items():
        with (
            Image.open(make.PICTURES / name) as one,
            Image.open(ran.folder / "field/room_01.png/pixel-64-48" / drawn) as other,
        ):
            difference = np.asarray(one, float) - np.asarray(other, float)
        assert np.abs(difference).mean() < 3, f"{name}: run python tests/docs/pages.py"


def test_every_picture_is_in_the_readme_and_small() -> None:
    used = set(re.findall(r"\(docs/pictures/(readme_\w+\.png)\)", README))
    there = {path.name: path.stat().st_size for path in make.PICTURES.glob("readme_*.png")}
    assert used == there.keys() == make.KEPT.keys()
    assert max(there.values()) < 60 * 1024
    assert sum(there.values()) < 600 * 1024


def test_links_lead_somewhere() -> None:
    pages = {"README.md": README, "CONTRIBUTING.md": CONTRIBUTING}
    headings = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    }
    for name, page in pages.items():
        for link in re.findall(r"\]\(([^)]+)\)", page):
            if link.startswith("#"):
                assert link[1:] in headings, f"{name}: {link}"
            else:
                assert (ROOT / link).exists(), f"{name}: {link}"


# The tables


def test_seeds() -> None:
    rows = [(code(row[0]), row[1]) for row in table("seed")]
    assert rows == [([kind.form], kind.meaning) for kind in KINDS.values()]


def test_every_seed_has_a_thumbnail_of_its_own() -> None:
    for row, name in zip(table("seed"), KINDS, strict=True):
        assert f"(docs/pictures/readme_seed_{name}.png)" in row[2]
        # The file's folder is the seed's: pixel-64-48/overlay.png
        assert Path(make.KEPT[f"readme_seed_{name}.png"]).parent.name.split("-")[0] == name


def test_methods() -> None:
    rows = [(code(row[0]), row[1], code(row[2])) for row in table("method")]
    assert rows == [([m.name], m.meaning, [f"{m.writes}.npy"]) for m in METHODS.values()]


def test_views() -> None:
    rows = [(code(row[0]), row[1], row[2]) for row in table("view")]
    assert rows == [
        ([view.name], view.meaning, f"![{view.name}](docs/pictures/readme_view_{view.name}.png)")
        for view in VIEWS.values()
    ]


def test_metrics() -> None:
    rows = [(code(row[0]), row[1], row[2]) for row in table("metric")]
    assert rows == [
        ([m.name], m.meaning, f"{'≥' if m.larger_is_nearer else '≤'} {m.tolerance:g}")
        for m in METRICS.values()
    ]


def test_preprocessing_in_its_order() -> None:
    flags = [code(row[0])[0].split()[0] for row in table("flag")]
    assert flags == [f"--{name.replace('_', '-')}" for name in Preprocess.model_fields]


def test_the_card_example_has_every_key() -> None:
    card = next(
        step.text
        for step in make.steps(README)
        if isinstance(step, make.Code) and step.file == "shapes_map.yaml"
    )
    keys = set(re.findall(r"^(\w+):", card, re.MULTILINE))
    assert keys == Card.model_fields.keys() - {"path"}


def test_exit_codes() -> None:
    rows = [int(row[0]) for row in table("code")]
    kinds = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, GradvizError)
    }
    assert rows == sorted(ExitCode)
    others = {ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.NOT_HELD, ExitCode.INTERRUPTED}
    assert set(ExitCode) == kinds | others
    order = re.search(r"If several apply: ([\d, ]+),", README)
    assert order
    assert [*map(int, order[1].split(", ")), ExitCode.DONE] == list(ExitCode)


def test_options_named_exist() -> None:
    commands = get_command(make_app()).commands  # type: ignore[attr-defined]
    parameters = [each for command in commands.values() for each in command.params]
    known = {flag for parameter in parameters for flag in parameter.opts}
    others = {"--help", "--nproc-per-node", "--no-python"}  # the last two are torchrun's
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - others
    assert named <= known
    # These have a short form that is named.
    silent = {"--out", "--verbose", "--quiet"}
    long = {flag for flag in known if flag.startswith("--")}
    assert long - named <= silent, "the README does not mention an option"


def test_every_command_has_a_line() -> None:
    commands = get_command(make_app()).commands  # type: ignore[attr-defined]
    section = README.partition("\n## Commands\n")[2].partition("\n## ")[0]
    said = re.findall(r"`gradviz ([a-z-]+) (?:MODEL|RUN)", section)
    assert sorted(said) == sorted(commands)


def test_the_support_page_is_up_to_date() -> None:
    assert make.SUPPORT.read_text(encoding="utf-8") == make.support_page(), REMEDY


# CONTRIBUTING


def test_contributing_names_paths_that_exist() -> None:
    text = re.findall(r"`([^`\n]+)`", CONTRIBUTING) + re.findall(r"^    (\S+)", CONTRIBUTING, re.M)
    words = {word for part in text for word in part.split()}
    paths = {word for word in words if "/" in word or re.search(r"\.(py|md)$", word)}
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_contributing_names_targets_and_tables_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (test|fuzz|lint|bench|demo)\b", CONTRIBUTING + README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    rows = table("what", CONTRIBUTING)
    tables = [(name, where) for row in rows for name in code(row[1]) for where in code(row[1])]
    found = 0
    for name, where in tables:
        if name.isupper() and where.endswith(".py"):
            assert re.search(rf"^{name}\b", (ROOT / where).read_text(), re.MULTILINE), name
            found += 1
    assert found == 12
