"""Values inside dicts, lists, tuples and dataclasses, by dotted paths such as `aux.1`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from torch import Tensor, nn


def children(value: object) -> dict[str, object]:
    """What `value` holds, by name; empty for what holds nothing, such as a tensor.

    Dicts give their keys, named tuples and dataclasses their fields, lists and tuples the indices.
    """
    if isinstance(value, (Tensor, nn.Module)):
        return {}
    if isinstance(value, Mapping):
        return {str(key): child for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        names = getattr(value, "_fields", range(len(value)))
        return {str(name): child for name, child in zip(names, value, strict=True)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {}


def walk(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Everything inside `value` that holds nothing more, with the path that leads to it."""
    inside = children(value)
    if not inside:
        yield path, value
    for name, child in inside.items():
        yield from walk(child, f"{path}.{name}" if path else name)


def find(value: object, path: str) -> object:
    """What `path` leads to; names may hold dots themselves, and named tuples know indices too.

    Raises:
        KeyError: it leads nowhere.
    """
    inside = children(value)
    if isinstance(value, tuple):
        inside |= {str(index): child for index, child in enumerate(value)}
    if path in inside:
        return inside[path]
    for name, child in inside.items():
        if path.startswith(f"{name}."):
            try:
                return find(child, path[len(name) + 1 :])
            except KeyError:
                continue
    raise KeyError(path)
