"""NEW."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradviz.errors import GradvizError, UsageError
from gradviz.files import disk
from gradviz.text import one_line


def _read_lines(path: Path) -> Iterator[Line]:
    with disk(path):
        rows = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, row in enumerate(rows, 1):
        try:
            line = json.loads(row)
            whole = isinstance(line["image"], str) and line["status"] in ("ok", "error")
        except (json.JSONDecodeError, TypeError, KeyError):
            whole = False
        if not whole:
            if number == len(rows):
                return
            raise UsageError(
                f"{path}:{number}: not a result; give --overwrite or choose another -o"
            )
        yield line


VOLATILE = frozenset({"command", "folder"})
"""The keys of run.json that may differ in two runs that are one."""


def _settled(run: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same in two runs that are one: an image may have changed in between, and
    shards run on devices of their own."""
    fixed = {key: value for key, value in run.items() if key not in VOLATILE}
    model = dict(run.get("model", {}))
    model["device"] = str(model.get("device")).partition(":")[0]
    return {**fixed, "model": model, "images": [image["name"] for image in run["images"]]}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Which keys of two records differ, by their dotted names, and how."""
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from (f"{key}.{rest}" for rest in differences(old, new))
        elif isinstance(old, list) and isinstance(new, list) and old != new and len(old + new) > 6:
            added, gone = (
                set(map(str, new)) - set(map(str, old)),
                set(map(str, old)) - set(map(str, new)),
            )
            yield f"{key}: {len(added)} added, {len(gone)} gone"
        elif old != new:
            yield f"{key} was {old}, is {new}"


Line = dict[str, Any]
"""One line of results.jsonl."""


@dataclass(frozen=True)
class Failure:
    """Why there is nothing for an image and a seed."""

    image: str
    seed: str | None
    """None where the failure has nothing to do with the seed."""
    error: GradvizError


def failure_line(failure: Failure) -> Line:
    """The line of an image, or of a seed of it, that failed."""
    return {
        "image": failure.image,
        "seed": failure.seed,
        "status": "error",
        "error": {"type": type(failure.error).__name__, "message": one_line(failure.error)},
    }
