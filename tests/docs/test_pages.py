"""README.md, CONTRIBUTING.md and the pages of docs/ hold, block by block and picture by picture."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.paths import no_browser
from tools import photograph_explore, photograph_report, write_reference
from tools.run_docs import DIFF, PICTURES, REMEDY, ROOT, Page, pages, run_blocks

RunPage = Callable[[str], tuple[Path, list[str]]]

ELSEWHERE = {
    "docs/guide/ci.md": "test_ci.py",
    "docs/guide/methods.md": "test_methods_page.py",
    "docs/guide/receptive-fields.md": "test_receptive_fields.py",
}
"""The pages that other files run."""
HERE = [page.name for page in pages() if page.name not in ELSEWHERE]
ALL = pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)


@pytest.mark.parametrize("name", HERE)
def test_every_example_holds_and_every_file_is_there(run_page: RunPage, name: str) -> None:
    page = Page(name)
    folder, wrong = run_page(name)
    assert not wrong, "\n".join(wrong)
    assert page.missing(folder) == []
    assert page.stale(folder) == [], REMEDY


@pytest.mark.parametrize("name, file", ELSEWHERE.items())
def test_the_other_pages_are_run_elsewhere(name: str, file: str) -> None:
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    assert f'run_page("{name}")' in text


@ALL
def test_every_link_leads_somewhere(page: Page) -> None:
    assert page.dead_links() == []


def test_every_page_is_reached_from_the_index() -> None:
    index = Page("docs/index.md")
    linked = {
        (index.file.parent / link).resolve() for link in re.findall(r"\]\(([^)]+)\)", index.text)
    }
    assert {page.file for page in pages()} - linked == {index.file, ROOT / "README.md"}


def test_the_readme_is_short() -> None:
    assert len(Page("README.md").text.splitlines()) <= 200


def test_only_what_prepares_a_computer_is_not_run() -> None:
    not_run = {command.line for page in pages() for command in page.commands if not command.is_run}
    assert not_run == {
        "python3 -m venv .venv",
        ". .venv/bin/activate",
        "pip install -c constraints.txt -e .",
        ".venv/bin/python -m pytest tests/unit/heatmap/test_views.py -k zero_map",
        ".venv/bin/python tools/run_docs.py docs/guide/views.md",
        ".venv/bin/python tools/write_reference.py",
        "make demo",
        "make quick",
        "make test",
        "make test T=tests/unit/heatmap/test_views.py",
    }


def test_the_demo_draws_what_it_says(tmp_path: Path) -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")
    run = [line for line in recipe.splitlines() if "/gradviz " in line]
    commands = [line for line in run if not line.startswith("echo")]
    assert len(commands) == 3
    # One image of each kind in place of all.
    lines = [re.sub(r"_\*'", "_01.*'", line.replace(".venv/bin/", "")) for line in commands]
    page = "```console\n" + "".join(f"$ {line}\n" for line in lines) + "```\n"
    assert run_blocks(page, tmp_path) == []
    said, explore = re.findall(r'echo "(.+)"', recipe)
    model, image = explore.partition("gradviz explore ")[2].split()
    assert (ROOT / model).exists() and (ROOT / image).exists()
    named = [word.strip(";,") for word in shlex.split(said) if word.startswith("gradviz-out/")]
    assert len(named) == 3
    assert all((tmp_path / name).exists() for name in named)


# Pictures


def test_every_picture_is_shown_and_small() -> None:
    shown = {
        Path(link).name
        for page in pages()
        for link in re.findall(r"\(((?:docs/|\.\./)*pictures/[\w.]+)", DIFF.sub("", page.text))
    }
    sizes = {path.name: path.stat().st_size for path in PICTURES.iterdir()}
    assert shown == sizes.keys()
    drawn = {name for page in pages() for name in page.pictures}
    explored = {photograph.name for photograph in photograph_explore.PHOTOGRAPHS}
    assert drawn | explored | {"report.png"} == sizes.keys()
    assert sizes["report.png"] < 150_000
    assert max(sizes[name] for name in drawn | explored) < 60_000
    assert sum(sizes.values()) < 1_750_000


@pytest.mark.parametrize("name", sorted({name for page in pages() for name in page.pictures}))
def test_pages_agree_on_the_file_that_a_picture_is(name: str) -> None:
    sources = {page.pictures[name] for page in pages() if name in page.pictures}
    assert len({source.split("/", 2)[2] for source in sources}) == 1


@pytest.mark.browser
def test_the_photograph_shows_the_report_of_the_readme(run_page: RunPage, tmp_path: Path) -> None:
    if photograph_report.chromium() is None:
        no_browser()
    folder, _ = run_page("README.md")
    photograph_report.photograph(folder / "out/report.html", tmp_path / "now.png")
    with Image.open(tmp_path / "now.png") as now, Image.open(photograph_report.PICTURE) as kept:
        assert apart(now, kept) < 4, "run python tools/photograph_report.py"


def apart(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two screens: other machines have other fonts, so of what is where."""
    small = [np.asarray(each.convert("RGB").resize((50, 30)), float) for each in (one, other)]
    return float(np.abs(small[0] - small[1]).mean())


@pytest.mark.browser
def test_the_photographs_show_the_page_of_explore(tmp_path: Path) -> None:
    if photograph_report.chromium() is None:
        no_browser()

    def compare_all(browser: Any) -> None:
        for photograph in photograph_explore.PHOTOGRAPHS:
            now = photograph_explore.take(photograph, browser, tmp_path)
            with Image.open(photograph.file) as kept:
                assert apart(now, kept) < 4, "run python tools/photograph_explore.py"

    photograph_explore.with_browser(compare_all)


# What a page's own run shows


def test_the_files_that_the_tutorial_shows_are_written(run_page: RunPage) -> None:
    folder, _ = run_page("docs/tutorial.md")
    (layout,) = re.findall(r"```text\n(.+?)```", Page("docs/tutorial.md").text, re.DOTALL)
    for line in layout.splitlines():
        assert (folder / line.split()[0]).is_file(), line


def test_the_python_example_draws_what_the_command_does(run_page: RunPage) -> None:
    drawn, _ = run_page("docs/guide/python.md")
    written, _ = run_page("docs/guide/seeds.md")
    for name, seed in (("ones", "ones"), ("pixel", "pixel-64-48")):
        with (
            Image.open(drawn / f"{name}.png") as one,
            Image.open(written / f"out/depth/room_01.png/{seed}/overlay.png") as other,
        ):
            difference = np.asarray(one, float) - np.asarray(other, float)
        assert np.abs(difference).mean() < 1  # another batch size rounds differently


def test_the_keys_of_documents_are_those_that_the_guides_name(run_page: RunPage) -> None:
    named = r"`--json` has the keys ([^.]+)\."
    flow = json.loads((run_page("docs/guide/report.md")[0] / "flow.json").read_text())
    assert _names("docs/guide/inspect.md", named) == flow.keys() - {"schema", "kind"}
    folder, _ = run_page("docs/guide/compare.md")
    compared = json.loads((folder / "out/difference/compare.json").read_text())
    assert _names("docs/guide/compare.md", r"It has ([^.]+)\.") == (
        compared.keys() - {"schema", "kind"}
    )


def _names(page: str, sentence: str) -> set[str]:
    """The names in the only sentence of a page that matches a pattern."""
    (found,) = re.findall(sentence, Page(page).text)
    return set(re.findall(r"`(\w+)`", found))


# What is generated


def test_the_reference_is_up_to_date() -> None:
    for page, text in (
        ("cli.md", write_reference.cli_page()),
        ("support.md", write_reference.support_page()),
    ):
        kept = (write_reference.REFERENCE / page).read_text(encoding="utf-8")
        assert kept == text, write_reference.REMEDY


def test_the_bibliography_has_every_paper_that_is_quoted() -> None:
    listed = set(_papers(Page("docs/bibliography.md").text))
    # The vocabulary names the sources of its words itself.
    quoting = [page for page in pages() if page.name != "docs/reference/vocabulary.md"]
    pages_quote = {paper for page in quoting for paper in _papers(page.text)}
    code_quotes = {
        paper
        for file in (ROOT / "gradviz").rglob("*.py")
        for paper in _papers(file.read_text(encoding="utf-8"))
    }
    assert pages_quote | code_quotes <= listed
    assert len(listed) > 15


def _papers(text: str) -> list[str]:
    """The arXiv numbers and DOIs in a text."""
    found = re.findall(r"arxiv(?:\.org/abs/|:)(\d+\.\d+)", text, re.IGNORECASE)
    return found + re.findall(r"\b(10\.\d{4,}/[\w.-]*\w)", text)
