"""docs/guide/receptive-fields.md: every example runs, and its tables are those of field.json."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools.run_docs import PICTURES, REMEDY, Page

PAGE = Page("docs/guide/receptive-fields.md")

RunPage = Callable[[str], tuple[Path, list[str]]]


@dataclass(frozen=True)
class Ran:
    """The page, run."""

    folder: Path
    wrong: list[str]

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.folder.glob("out/*/field.json")]


@pytest.fixture(scope="module")
def ran(run_page: RunPage) -> Ran:
    return Ran(*run_page("docs/guide/receptive-fields.md"))


def rows(first: str) -> Iterator[tuple[list[str], str]]:
    """The table whose first header is `first`: the names in the first column, the rest."""
    lines = iter(PAGE.text.splitlines())
    next(line for line in lines if line.startswith(f"| {first} |"))
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        cells = line.strip("|").split("|")
        yield re.findall(r"`([^`]+)`", cells[0]), "|".join(cells[1:])


def names(first: str) -> set[str]:
    return {name for found, _ in rows(first) for name in found}


def test_every_example_holds(ran: Ran) -> None:
    assert not ran.wrong, "\n".join(ran.wrong)
    assert len(ran.documents) > 5


def test_every_file_named_is_written(ran: Ran) -> None:
    assert PAGE.missing(ran.folder) == []
    assert all((ran.folder / source).is_file() for source in PAGE.pictures.values())


def test_the_pixel_at_the_top_is_cut_at_its_upper_side_only(ran: Ran) -> None:
    (field,) = json.loads((ran.folder / "out/depth/field.json").read_text())["fields"]
    assert field["clipped"] == [False, True, False, False]


def test_the_pictures_are_what_the_commands_draw(ran: Ran) -> None:
    assert PAGE.stale(ran.folder) == [], REMEDY


def test_the_structural_picture_is_exact(ran: Ran) -> None:
    name = "fields_small_structural.png"
    with Image.open(PICTURES / name) as kept:
        drawn = np.load((ran.folder / PAGE.pictures[name]).with_suffix(".npy"))
        assert np.array_equal(np.asarray(kept), drawn), REMEDY


def test_pictures_are_its_own() -> None:
    assert {path.name for path in PICTURES.glob("fields_*.png")} == PAGE.pictures.keys()


def test_the_parts_of_the_document(ran: Ran) -> None:
    assert all(names("in `field.json`") == document.keys() for document in ran.documents)


def test_the_parts_of_a_field(ran: Ran) -> None:
    fields = [field for document in ran.documents for field in document["fields"]]
    assert all(names("in a field") == field.keys() for field in fields)
    (local,) = (text for found, text in rows("in a field") if found == ["local"])
    assert set(re.findall(r"`([^`]+)`", local)) == fields[0]["local"].keys()


def test_the_statistics(ran: Ran) -> None:
    fields = [field for document in ran.documents for field in document["fields"]]
    assert all(names("name") == field["effective"].keys() for field in fields)


def test_the_numbers_of_the_geometry(ran: Ran) -> None:
    (document,) = (each for each in ran.documents if each["layers"])
    said = {found[0]: text for found, text in rows("in `field.json`")}
    geometry = set(re.findall(r"`([^`]+)`", said["geometry"])) - {"--layer"}
    assert geometry == document["geometry"].keys() == names("number") | {"global_through"}
    layer = set(re.findall(r"`([^`]+)`", said["layers"])) - {"--layers", "geometry"}
    assert layer | geometry == document["layers"][0].keys()
