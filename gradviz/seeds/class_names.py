"""Names of classes: from the text that a user types to the number of a class."""

from __future__ import annotations

from collections.abc import Sequence

from gradviz.errors import SeedError
from gradviz.text import listed, nearest

MOST_CANDIDATES = 8
"""The most classes that a message about an ambiguous name lists."""


def class_index(name: str, labels: Sequence[str]) -> int:
    """Look up the number of the class with this name.

    The first of these rules that fits any class decides: the label itself; the label without regard
    to case and blanks; one of the synonyms that the label lists between commas.

    Args:
        name: the name of a class.
        labels: the names of all classes, in the order of the channels.

    Returns:
        the index of the class in `labels`, from 0.

    Raises:
        SeedError: no class has that name, and the message has the nearest one; or several have it,
            and the message lists them.
    """
    if not labels:
        raise SeedError(
            f"the model has no class names; name the class by its number, or give --labels FILE to "
            f"use {name!r}"
        )
    wanted = _folded(name)
    for fitting in (
        [n for n, label in enumerate(labels) if label == name],
        [n for n, label in enumerate(labels) if _folded(label) == wanted],
        [n for n, label in enumerate(labels) if wanted in map(_folded, label.split(","))],
    ):
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            found = listed([f"{n} ({labels[n]})" for n in fitting], MOST_CANDIDATES)
            raise SeedError(f"{len(fitting)} classes are called {name!r}: give the number, {found}")
    names = dict.fromkeys(_folded(each) for label in labels for each in label.split(","))
    known = f"the classes are {listed(labels, 20)}"
    raise SeedError(f"no class is called {name!r}; {nearest(wanted, names, known, 3, 0.5)}")


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
