"""YAML as plain data: YAML 1.2's core schema, without surprises.

PyYAML reads YAML 1.1: `no` is false, `1e-3` is text, `010` is eight, and the second of two equal
keys silently wins. Here duplicate keys, anchors, aliases, merge keys and tags are errors.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from gradviz.errors import UsageError
from gradviz.text import one_line

KeyPath = tuple[Hashable, ...]
"""The way to a value: the keys of mappings and the indices of lists, outermost first."""


class _Loader(yaml.SafeLoader):
    """A SafeLoader without YAML 1.1's scalars, which rejects what the module's docstring names."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not allowed: write the value out",
                problem_mark=event.start_mark,
            )
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                problem=f"the tag {event.tag} is not allowed: write plain values",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            problem = None
            if not isinstance(key, Hashable) or key != key:  # NaN is not even itself
                problem = "a key must be text or a number"
            elif key == "<<":
                problem = "the merge key << is not allowed: write the keys out"
            elif key in seen:
                problem = f"duplicate key {key!r}, first given in line {seen[key]}: keep one"
            if problem is not None:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen[key] = line
        return super().construct_mapping(node, deep)


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value, 0 if node.value[:2] in ("0x", "0o") else 10)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"\.(inf|nan)$", r"\1", node.value.lower()))


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    text = str(node.value)
    # Escapes in YAML can write characters that neither UTF-8 nor a file name can hold.
    if re.search(r"[\0\ud800-\udfff]", text):
        raise yaml.MarkedYAMLError(
            problem=f"{text!r} is no text: leave out \\0 and \\ud800 to \\udfff",
            problem_mark=node.start_mark,
        )
    return text


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), _first
    )
_Loader.add_constructor("tag:yaml.org,2002:str", _text)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def load_mapping(path: Path) -> tuple[dict[str, object], dict[KeyPath, int]]:
    """Read a YAML file that holds one mapping with text keys.

    Args:
        path: the file.

    Returns:
        the mapping, and the 1-based line of every key and list item in it, at any depth.

    Raises:
        UsageError: the file cannot be read, is not such YAML, or has a duplicate key, an anchor, an
            alias, a merge key or a tag; the message names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    node, value = _parse(text, str(path))
    if not isinstance(value, dict):
        line = 1 if node is None else node.start_mark.line + 1
        raise UsageError(f"{path}, line {line}: must be a mapping (key: value), got {value!r}")
    lines = dict(_lines(node, ()))
    for key in value:
        if not isinstance(key, str):
            raise UsageError(f"{path}, line {lines[(key,)]}: a key must be text, got {key!r}")
    return value, lines


def parse_scalar(text: str) -> Any:
    """Parse a text as one YAML value: `1e-3` is a float, `[1, 2]` a list, `no` text.

    Raises:
        UsageError: it is not YAML.
    """
    node, value = _parse(text, repr(text))
    if node is None and text.strip():
        raise UsageError(f"{text!r}: is only a YAML comment; quote it if it is text")
    return value


def parse_document(text: str, where: str) -> Any:
    """Parse a text as one YAML document.

    Args:
        text: the YAML.
        where: its place, for messages.

    Raises:
        UsageError: it is not such YAML; the message names the line.
    """
    return _parse(text, where)[1]


def _parse(text: str, where: str) -> tuple[yaml.Node | None, Any]:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise UsageError(f"{where}{line}: {one_line(error.problem or error)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{where}: is not YAML: {one_line(error)}") from error


def _lines(node: yaml.Node | None, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = (*path, _Loader("").construct_object(key_node, deep=True))
            yield key, key_node.start_mark.line + 1
            yield from _lines(value_node, key)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _lines(item, (*path, index))
