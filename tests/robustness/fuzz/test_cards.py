"""Any YAML as a card or a recipe: what it says, or one line that names the file.

An example takes about a millisecond.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gradviz.errors import GradvizError, UsageError
from gradviz.image.preprocess import Preprocess
from gradviz.model.card import Card, FoundCard, card_beside, read_card, read_preprocess
from gradviz.model.load import load_model
from tests.robustness.fuzz.rounds import QUICK
from tests.robustness.fuzz.texts import anything, near, numbers

KEYS = ("model", "arch", "arch_args", "weights_key", "preprocess", "output", "labels")
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), anything, numbers, st.dates(), st.binary()
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=3), st.integers(), st.none()), inner, max_size=3
        ),
    ),
    max_leaves=6,
)
recipes = st.dictionaries(
    st.sampled_from([*Preprocess.model_fields, "sdt", "<<"]),
    st.one_of(st.integers(-2, 300), numbers, near(",", "x"), st.lists(st.floats(), max_size=4)),
    max_size=4,
)
cards = st.dictionaries(
    st.sampled_from([*KEYS, "modle"]),
    st.one_of(values, recipes, st.lists(st.text(max_size=3), max_size=3)),
    max_size=5,
)
"""Cards with the right keys, and values that are nearly right."""

written = st.builds(
    lambda card, flow, unicode: str(
        yaml.dump(card, default_flow_style=flow, allow_unicode=unicode)
    ).encode("utf-8", "surrogatepass"),
    cards,
    st.booleans(),
    st.booleans(),
)
pieces = st.lists(
    st.sampled_from(
        [
            *(f"{key}: " for key in KEYS),
            *(
                "\n",
                "\n  ",
                "- ",
                "{",
                "}",
                "[",
                "]",
                ", ",
                ": ",
                "? ",
                "# ",
                "--- ",
                "...\n",
                "\t",
            ),
            *("&a ", "*a", "!!python/object:os.system ", "!x ", "<<: ", "| ", "> ", "%YAML 1.2\n"),
            *('"\\0"', '"\\ud800"', "'", '"', "1", ".nan", "0o9", "0x", "2026-01-01", "a", "1e3"),
        ]
    ),
    max_size=12,
).map(lambda parts: "".join(parts).encode())
"""Text made of YAML's own signs."""

documents = st.one_of(written, pieces, anything.map(lambda t: t.encode("utf-8", "surrogatepass")))
raw = st.one_of(documents, documents, st.binary(max_size=40))


@QUICK
@given(content=raw)
@example(b".nan: 1")
@example(b'model: "\\0"')
@example(b'model: "\\ud800"')
def test_any_card(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(content)
    for read in (read_card, read_preprocess, card_beside):
        try:
            found = read(path)
        except UsageError as error:
            assert str(path) in str(error)
        else:
            assert isinstance(found, Card | FoundCard | Preprocess)


@QUICK
@given(content=raw)
@example(b'model: "\\0"')
@example(b'model: "\\ud800"')
@example(b"model: .")
@example(b"model: model.yaml")
def test_the_model_of_any_card(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(content)
    try:
        load_model(path)
    except GradvizError as error:
        assert error.exit_code in (2, 3, 5)
    else:
        raise AssertionError("there is no model in the folder")
