"""The tables of README.md and docs/ are those of the code."""

from __future__ import annotations

import re
from dataclasses import fields

from typer.main import get_command

from gradviz import errors
from gradviz.backward.methods import METHODS
from gradviz.cli.app import make_app
from gradviz.cli.options import InputOptions
from gradviz.commands.compare.metrics import METRICS
from gradviz.errors import ExitCode, GradvizError
from gradviz.heatmap.views import VIEWS
from gradviz.image.preprocess import Preprocess, spelled_out
from gradviz.model.card import Card
from gradviz.seeds.kinds import KINDS
from tools.run_docs import Page, pages


def table(first: str, page: str) -> list[list[str]]:
    """The rows of the table whose first header begins with `first`, without that header."""
    lines = iter(Page(page).text.splitlines())
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
    """The parts of a cell that stand in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def test_seeds() -> None:
    rows = [(code(row[0]), row[1]) for row in table("seed", "docs/guide/seeds.md")]
    assert rows == [([kind.form], kind.meaning) for kind in KINDS.values()]


def test_every_seed_has_a_thumbnail_of_its_own() -> None:
    pictures = Page("docs/guide/seeds.md").pictures
    for row, name in zip(table("seed", "docs/guide/seeds.md"), KINDS, strict=True):
        assert f"(../pictures/seed_{name}.png " in row[2]
        # The file's folder is the seed's: pixel-64-48/overlay.png
        assert pictures[f"seed_{name}.png"].split("/")[-2].split("-")[0] == name


def test_methods() -> None:
    page = "docs/guide/methods.md"
    rows = [(code(row[0]), row[1], code(row[2])) for row in table("`--method`", page)]
    assert rows == [([m.name], m.meaning, [f"{m.writes}.npy"]) for m in METHODS.values()]


def test_views() -> None:
    rows = [
        (code(row[0]), row[1], f"/view_{row[2][2:-1].partition(']')[0]}.png " in row[2])
        for row in table("view", "docs/guide/views.md")
    ]
    assert rows == [([view.name], view.meaning, True) for view in VIEWS.values()]


def test_metrics() -> None:
    rows = [(code(row[0]), row[1], row[2]) for row in table("metric", "docs/guide/compare.md")]
    assert rows == [
        ([m.name], m.meaning, f"{'≥' if m.larger_is_nearer else '≤'} {m.tolerance:g}")
        for m in METRICS.values()
    ]


def test_preprocessing_in_its_order() -> None:
    named = [code(row[0])[0].split()[0] for row in table("flag", "docs/guide/preprocessing.md")]
    short = [code(row[0])[0].split()[0] for row in table("short", "docs/guide/preprocessing.md")]
    flags = {f"--{field.name}".replace("_", "-") for field in fields(InputOptions)}
    written = [f"--{name}".replace("_", "-") for name in Preprocess.model_fields]
    assert [f"--{name.removeprefix('--')}".replace("_", "-") for name in named] == written
    assert {name for name in [*named, *short] if name.startswith("--")} == flags - {"--preprocess"}
    for name in short:
        assert spelled_out({name.removeprefix("--"): 1}).keys() <= Preprocess.model_fields.keys()


def test_the_card_example_has_every_key() -> None:
    text = Page("docs/guide/models.md").text
    (card,) = re.findall(r"^```yaml\n# shapes_map.yaml\n(.*?)^```$", text, re.M | re.S)
    keys = set(re.findall(r"^(\w+):", card, re.MULTILINE))
    assert keys == Card.model_fields.keys() - {"path"}


def test_exit_codes() -> None:
    page = Page("docs/reference/exit-codes.md")
    rows = [int(row[0]) for row in table("code", page.name)]
    kinds = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, GradvizError)
    }
    others = {ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.NOT_HELD, ExitCode.INTERRUPTED}
    assert rows == sorted(ExitCode)
    assert set(ExitCode) == kinds | others
    order = re.search(r"If several apply: ([\d, ]+),", page.text)
    assert order
    assert [*map(int, order[1].split(", ")), ExitCode.DONE] == list(ExitCode)


def test_every_exit_code_shown_is_in_the_table() -> None:
    known = {int(row[0]) for row in table("code", "docs/reference/exit-codes.md")}
    shown = {command.code for page in pages() for command in page.commands}
    assert {2, 3, 4, 5, 6} <= shown <= known


def test_options_named_exist() -> None:
    commands = get_command(make_app()).commands  # type: ignore[attr-defined]
    parameters = [each for command in commands.values() for each in command.params]
    known = {flag for parameter in parameters for flag in parameter.opts}
    # The last two are torchrun's.
    others = {"--help", "--version", "--nproc-per-node", "--no-python"}
    written = [p.text for p in pages() if p.name.startswith(("README", "docs/guide", "docs/tut"))]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "".join(written))) - others
    assert named <= known
    # These have a short form that is named; what --debug does stands beside the exit codes.
    silent = {"--out", "--verbose", "--quiet", "--debug"}
    long = {flag for flag in known if flag.startswith("--")}
    assert long - named <= silent, "no guide explains an option"


def test_every_command_has_its_part_of_the_readme() -> None:
    commands = get_command(make_app()).commands  # type: ignore[attr-defined]
    section = Page("README.md").text.partition("\n## Seven commands\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\*\*`gradviz ([a-z-]+) (?:MODEL|RUN)", section, re.MULTILINE)
    assert sorted(named) == sorted(commands)
    run = re.findall(r"^\$ gradviz ([a-z-]+) ", section, re.MULTILINE)
    assert {*run} == {*commands} - {"explore"}  # it serves until it is closed
