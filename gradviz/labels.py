"""Labels: the names of a model's classes, read from a file."""

from __future__ import annotations

import json
from pathlib import Path

from gradviz.errors import UsageError
from gradviz.files import disk, open_regular
from gradviz.strict_yaml import parse_document
from gradviz.text import one_line, shortened

LARGEST_FILE = 1 << 22
"""The most bytes of a file of labels: those of 21,841 ImageNet classes with all synonyms are
1.2 MB."""

_FORMS = (
    'expected a label a line, a list ["cat", "dog"], or an object {"0": "cat", "1": "dog"} of '
    "JSON or YAML"
)


# The file: bytes → labels -------------------------------------------------------------------------


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the labels of a model's classes from a file.

    The file has a label a line; or is a list, in JSON or YAML; or an object from index to label, in
    JSON or YAML, whose values may be Keras's pairs of WordNet number and label.

    Args:
        path: the file.

    Returns:
        the labels in the order of the classes.

    Raises:
        UsageError: it cannot be read, or is none of these.
    """
    with disk(path), open_regular(path) as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise UsageError(
            f"{path}: has more than {LARGEST_FILE // 1_000_000} MB, too much for labels; {_FORMS}"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start}); {_FORMS}") from error
    if path.suffix.lower() in (".yaml", ".yml") or text.lstrip()[:1] in ("[", "{"):
        return _labels_in(_parsed(text, path), str(path))
    lines = text.rstrip().split("\n")
    blank = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if blank is not None:
        raise UsageError(f"{path}, line {blank}: is blank; {_FORMS}")
    return tuple(_label(line, f"{path}, line {n}") for n, line in enumerate(lines, 1))


def _labels_in(value: object, where: str) -> tuple[str, ...]:
    """Convert a parsed list, or an object from index to label.

    Args:
        value: the list or the object.
        where: its place, for messages.

    Returns:
        the labels in the order of the classes.

    Raises:
        UsageError: it is neither, an index is missing, or a label is no text.
    """
    if isinstance(value, dict):
        by_index = {_index(key, where): label for key, label in value.items()}
        missing = next((n for n in range(len(value)) if n not in by_index), None)
        if missing is not None:
            raise UsageError(
                f"{where}: {len(value)} keys, and none is the index {missing}; number the classes "
                "from 0, each once"
            )
        value = [by_index[n] for n in range(len(by_index))]
    if not isinstance(value, list) or not value:
        raise UsageError(f"{where}: holds no labels; {_FORMS}")
    return tuple(_label(each, f"{where}, class {n}") for n, each in enumerate(value))


def _parsed(text: str, path: Path) -> object:
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except RecursionError as error:
        raise UsageError(f"{path}: is nested too deeply; {_FORMS}") from error
    except ValueError:  # YAML has more forms
        return parse_document(text, str(path))


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError  # which YAML's parser names with the line
    return found


def _index(key: object, where: str) -> int:
    digits = str(key) if isinstance(key, str | int) and not isinstance(key, bool) else ""
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        raise UsageError(f"{where}: the key {_quoted(key)} is no index of a class; {_FORMS}")
    return int(digits)


def _label(value: object, where: str) -> str:
    match value:
        case [str(), str(label)] | str(label):
            pass
        case _:
            quote = ": quote it to make it text" if isinstance(value, bool | int | float) else ""
            raise UsageError(f"{where}: a label must be text, got {_quoted(value)}{quote}")
    label = " ".join(label.split())
    if not label or any("\ud800" <= each <= "\udfff" for each in label):
        raise UsageError(f"{where}: a label must be text, got {_quoted(value)}")
    return label


def _quoted(value: object) -> str:
    return shortened(one_line(repr(value)), 40)
