"""YAML is read as YAML 1.2's core schema says, and surprises are errors with a line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradviz.errors import UsageError
from gradviz.strict_yaml import load_mapping, parse_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("12", 12),
        ("+7", 7),
        ("010", 10),
        ("0o17", 15),
        ("0xfF", 255),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"),
        ("~", None),
        ("", None),
        ("null", None),
        ("'1'", "1"),
        ("[1, 2.5, no]", [1, 2.5, "no"]),
        ("{a: 1, b: [true]}", {"a": 1, "b": [True]}),
        ("resnet", "resnet"),
    ],
)
def test_scalars_have_the_types_of_the_core_schema(text: str, value: object) -> None:
    got = parse_scalar(text)
    assert got == value
    assert type(got) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_scalar(".nan"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_that_python_prints_comes_back(number: float) -> None:
    assert parse_scalar(repr(number)) == number


@given(st.integers())
def test_every_integer_comes_back(number: int) -> None:
    assert parse_scalar(str(number)) == number


@pytest.mark.parametrize("text", ["[1, 2", "@name", "#fff", "a: b: c", "{[1]: 2, ? {a: b} : c}"])
def test_text_that_is_no_yaml_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_scalar(text)
    assert "\n" not in str(caught.value)


def test_lines_are_those_of_keys_and_items_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# a comment\nmodel: a.pt\n\npreprocess:\n  mean:\n    - 0.5\n    - 0.25\n")
    mapping, lines = load_mapping(path)
    assert mapping == {"model": "a.pt", "preprocess": {"mean": [0.5, 0.25]}}
    assert lines == {
        ("model",): 2,
        ("preprocess",): 4,
        ("preprocess", "mean"): 5,
        ("preprocess", "mean", 0): 6,
        ("preprocess", "mean", 1): 7,
    }


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("a: 1\nb: 2\na: 3\n", ["line 3", "duplicate key 'a'", "line 1"]),
        ("a:\n  b: 1\n  b: 1\n", ["line 3", "duplicate key 'b'"]),
        ("a: &x 1\n", ["line 1", "anchors"]),
        ("b: 1\na: *x\n", ["line 2", "aliases"]),
        ("a: 1\n<<: {b: 2}\n", ["line 2", "merge key"]),
        ("a: !!python/object/apply:os.system [ls]\n", ["line 1", "tag"]),
        ("a: !!str 5\n", ["line 1", "tag"]),
        ("a: 1\nb: !thing 2\n", ["line 2", "tag"]),
        ("a: 1\n? [1, 2]\n: 3\n", ["line 2", "key"]),
        ("a: [1\nb: 2\n", ["line 2"]),
        ("a: 1\n---\nb: 2\n", ["line 2"]),
        ("- 1\n- 2\n", ["line 1", "mapping"]),
        ("", ["line 1", "mapping"]),
        ("a: 1\n2: b\n", ["line 2", "text", "2"]),
        ("a: \x07\n", ["not YAML"]),
        ("[" * 3000, ["not YAML"]),
    ],
)
def test_what_surprises_is_an_error_with_file_and_line(
    tmp_path: Path, content: str, parts: list[str]
) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        load_mapping(path)
    message = str(caught.value)
    assert all(part in message for part in ["card.yaml", *parts]), message
    assert "\n" not in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    for name, part in (("nothing.yaml", "cannot be read"), ("latin.yaml", "not UTF-8")):
        with pytest.raises(UsageError, match=f"{name}: .*{part}"):
            load_mapping(tmp_path / name)


@pytest.mark.parametrize("escape", [r"\0", r"\ud800", r"\udfff"])
def test_what_no_file_name_can_hold_is_an_error_with_its_line(tmp_path: Path, escape: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(f'output: a\nmodel: "b{escape}"\n')
    with pytest.raises(UsageError, match=r"line 2: .* is no text"):
        load_mapping(path)
