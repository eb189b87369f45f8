"""Documents of other schemas: which are refused, and how an older one is converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from gradviz.errors import UsageError
from gradviz.runs import conversion
from gradviz.runs.conversion import read_document
from gradviz.runs.schema import Document

FILE = Path("out/note.json")


class Note(Document):
    """A document that has changed twice: `text` was `words`, and `words` was `word`."""

    version: Literal[3] = Field(alias="schema")  # type: ignore[assignment]
    text: str


def renamed(old: str, new: str) -> conversion.Conversion:
    return lambda content: {new if key == old else key: each for key, each in content.items()}


@pytest.fixture(autouse=True)
def conversions(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: dict[tuple[type[Document], int], conversion.Conversion]
    rows = {(Note, 1): renamed("word", "words"), (Note, 2): renamed("words", "text")}
    monkeypatch.setattr(conversion, "CONVERSIONS", conversion.CONVERSIONS | rows)


@pytest.mark.parametrize(("schema", "key"), [(1, "word"), (2, "words"), (3, "text")])
def test_what_is_older_is_converted(schema: int, key: str) -> None:
    content = {"schema": schema, key: "hello", "later": [1]}
    note = read_document(Note, content, FILE)
    assert note.content() == {"schema": 3, "text": "hello", "later": [1]}
    assert content == {"schema": schema, key: "hello", "later": [1]}


def test_what_is_newer_is_refused() -> None:
    with pytest.raises(UsageError) as raised:
        read_document(Note, {"schema": 4, "text": "hello"}, FILE)
    assert str(raised.value) == (
        "out/note.json: has schema 4, and gradviz 0.1.0 reads at most 3; upgrade gradviz, write it "
        "again, or name another"
    )


def test_what_has_none_is_refused() -> None:
    with pytest.raises(UsageError) as raised:
        read_document(Note, {"text": "hello"}, FILE)
    assert str(raised.value) == (
        "out/note.json: has no schema, so the version of its format is not known; write it again, "
        "or name another"
    )


@pytest.mark.parametrize("schema", [0, -1, True, 1.0, "3", None, [1], "x\n" * 100])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(UsageError, match="which is no version from 1 to 3; write it") as raised:
        read_document(Note, {"schema": schema, "text": "hello"}, FILE)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 150


@pytest.mark.parametrize("content", [[], None, {"schema": 3}, {"schema": 2, "word": "hello"}])
def test_damage_is_left_to_the_caller(content: Any) -> None:
    with pytest.raises(ValueError):
        read_document(Note, content, FILE)


def test_every_older_schema_has_a_conversion() -> None:
    kinds = [*Document.__subclasses__()]
    needed = {
        (kind, version) for kind in kinds for version in range(1, conversion.newest_schema(kind))
    }
    assert needed == conversion.CONVERSIONS.keys()
