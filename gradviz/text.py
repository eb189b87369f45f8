"""Text that people and programs read: one line, names listed and guessed, strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches


def strict_json(value: object, indent: int | None = None) -> str:
    """Write a value as JSON; the bare NaN and Infinity that Python would write become null.

    Args:
        value: dicts, lists, text and numbers.
        indent: the spaces of each level; None for one line.
    """
    return json.dumps(_finite(value), allow_nan=False, indent=indent)


def _finite(value: object) -> object:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value


def one_line(message: object) -> str:
    """Write `message` in one printable line.

    Every run of white space, line breaks included, becomes one space. A character that does not
    print, such as a terminal's control sequence in a file's name, is escaped as in Python.
    """
    return harmless(" ".join(str(message).split()))


def harmless(text: str) -> str:
    """`text` with all escaped that does something to a terminal, but for tabs between columns."""
    return "".join(
        each if each.isprintable() or each == "\t" else repr(each)[1:-1] for each in text
    )


def shortened(text: str, most: int) -> str:
    """Cut a text to at most so many characters, the last of them `…` if something is cut."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def words(text: str) -> list[str]:
    """Split names that stand in one text with spaces between them, as tables of names do."""
    return text.split()


def listed(names: Sequence[str], most: int) -> str:
    """List the first names, and count the others.

    Args:
        names: all names.
        most: the largest number of names that are listed.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def short_names(paths: Sequence[str]) -> list[str]:
    """Name files or folders by the ends of their paths, as long as it takes to tell them apart.

    Args:
        paths: the paths; equal ones keep equal names.
    """
    parts = [[part for part in path.replace("\\", "/").split("/") if part] for path in paths]
    for length in range(1, max(map(len, parts), default=1)):
        names = ["/".join(part[-length:]) for part in parts]
        if len({*names}) == len({*map(tuple, parts)}):
            return names
    return ["/".join(part) for part in parts]


def nearest(
    name: str,
    known: Iterable[str],
    otherwise: str,
    most: int = 1,
    cutoff: float = 0.6,
    joined: str = " or ",
) -> str:
    """Phrase a hint for an unknown name: "did you mean X?", or `otherwise` if no name is near.

    Args:
        name: the unknown name.
        known: the names that exist.
        otherwise: the hint if none of them is near.
        most: the largest number of names offered.
        cutoff: the least similarity to `name`, from 0 to 1.
        joined: the text between the offered names.
    """
    near = get_close_matches(name, list(known), most, cutoff)
    return f"did you mean {joined.join(near)}?" if near else otherwise
