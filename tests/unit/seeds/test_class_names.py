"""Names of classes as users type them."""

from __future__ import annotations

import pytest

from gradviz.errors import SeedError
from gradviz.seeds.class_names import class_index

LABELS = (
    "tabby, tabby cat",
    "Egyptian cat",
    "crane",
    "crane, wading bird",
    "crane",
    "maillot",
    "maillot, tank suit",
    "Star",
    "star",
    "sorrel",
)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("tabby, tabby cat", 0),
        ("tabby", 0),
        ("TABBY  CAT", 0),
        ("Egyptian cat", 1),
        ("egyptian CAT", 1),
        (" Egyptian cat ", 1),
        ("wading bird", 3),
        ("crane, wading bird", 3),
        ("maillot", 5),  # a whole label comes before a synonym
        ("tank suit", 6),
        ("Star", 7),  # and its own case before any
        ("star", 8),
    ],
)
def test_names(name: str, index: int) -> None:
    assert class_index(name, LABELS) == index


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("crane", LABELS, "2 classes are called 'crane': give the number, 2 (crane), 4 (crane)"),
        ("STAR", LABELS, "2 classes are called 'STAR': give the number, 7 (Star), 8 (star)"),
        ("cat", ("a, cat", "b, cat"), "2 classes are called 'cat': give the number, 0 (a, cat), "),
        ("x", ["x"] * 10, "0 (x), 1 (x), 2 (x), 3 (x), 4 (x), 5 (x), 6 (x), 7 (x) and 2 more"),
        ("Egyptain cat", LABELS, "no class is called 'Egyptain cat'; did you mean egyptian cat"),
        ("zzz", LABELS, "no class is called 'zzz'; the classes are tabby, tabby cat, Egyptian cat"),
        ("", LABELS, "no class is called ''"),
        ("cat", (), "give --labels FILE"),
    ],
)
def test_names_that_are_none_or_several(name: str, labels: list[str], message: str) -> None:
    with pytest.raises(SeedError) as error:
        class_index(name, labels)
    assert message in str(error.value)
