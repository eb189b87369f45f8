"""The files of a model's folder, which a stranger may have made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gradviz.errors import ModelError
from gradviz.files import open_regular
from gradviz.text import listed, one_line, shortened

LARGEST_JSON = 8_000_000
"""The most bytes of a JSON file that is read. Fifty thousand classes take four million."""

LARGEST_NUMBER = 1 << 18
"""The largest whole number of a configuration, unless the weights have more bytes. Libraries make
lists of as many names or layers, before anything shows that the weights are not for them."""

MOST_LABELS = 50_000
"""The most classes whose names are taken."""

CONFIG = "config.json"

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The names of weights in the order in which libraries look for them."""


@dataclass(frozen=True)
class Folder:
    """A folder with a configuration and weights."""

    path: Path
    """The folder as the user named it."""
    config: Mapping[str, object]
    """The content of config.json."""
    weights: tuple[Path, ...]
    """The files of the weights; several if they are sharded."""
    size: int
    """The bytes of the weights."""
    sha256: str
    """The SHA-256 of what `sha256sum config.json WEIGHTS...` prints."""


def read_folder(path: Path) -> Folder:
    """Read the configuration of a folder, and find its weights. Nothing in it is run.

    Args:
        path: the folder.

    Raises:
        ModelError: a file is missing, damaged or too large, or leads out of the folder.
    """
    config = read_json(path, CONFIG)
    found = next((name for name in _WEIGHTS if (path / name).exists()), None)
    if found is None:
        raise ModelError(
            f"{path}: the folder has a {CONFIG} and no weights: expected {' or '.join(_WEIGHTS)}"
        )
    shards = _shards(path, found) if found.endswith(".json") else (found,)
    named = (CONFIG, *([found] if found not in shards else []), *shards)
    files = {name: file_in(path, name) for name in named}
    size = sum(files[name].stat().st_size for name in shards)
    _check_numbers(config, max(LARGEST_NUMBER, size), f"{path / CONFIG}")
    sums = "".join(f"{_digest(file)}  {name}\n" for name, file in files.items())
    return Folder(
        path,
        config,
        tuple(path / name for name in shards),
        size,
        hashlib.sha256(sums.encode()).hexdigest(),
    )


def _check_numbers(config: Mapping[str, object], most: int, where: str) -> None:
    """Refuse whole numbers that no size or count of a network can have."""
    waiting: list[tuple[str, object]] = [*config.items()]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{key}.{name}", each) for name, each in value.items()]
        elif isinstance(value, list):
            waiting += [(key, each) for each in value]
        elif isinstance(value, int) and abs(value) > most:
            raise ModelError(
                f"{where}: {shortened(one_line(key), 80)} is {shortened(str(value), 20)}, which is "
                "no size of a network: get the folder from whoever made it"
            )


def read_json(folder: Path, name: str) -> dict[str, object]:
    """Read a JSON file that holds a mapping.

    Args:
        folder: the folder.
        name: the file's path in it.

    Raises:
        ModelError: it is missing, too large or no mapping, or leads out of the folder.
    """
    file = file_in(folder, name)
    with open_regular(file) as stream:
        content = stream.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise ModelError(
            f"{folder / name}: expected at most {LARGEST_JSON // 1_000_000} MB of JSON: it is no "
            "description of a model, get the folder from whoever made it"
        )
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{folder / name}: cannot be read as JSON ({one_line(error)}): download it again"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"{folder / name}: expected a mapping, got a {type(value).__name__}: get the folder "
            "from whoever made it"
        )
    return value


def file_in(folder: Path, name: str) -> Path:
    """Return the path of a regular file in a folder.

    Links may lead to other files of the folder, or of the model's own part of the Hugging Face
    cache, whose snapshots are links.

    Raises:
        ModelError: there is no such file, or it leads elsewhere.
    """
    path = folder / name
    try:
        real, home = path.resolve(strict=True), folder.resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: is missing from the folder: download it again") from error
    blobs = home.parent.parent / "blobs"
    if not real.is_relative_to(home) and not (
        home.parent.name == "snapshots" and real.is_relative_to(blobs)
    ):
        raise ModelError(
            f"{folder}/{name}: leads out of the folder, to {real}: put the file itself into the "
            "folder"
        )
    if not real.is_file():
        raise ModelError(f"{path}: is no regular file: download it again")
    return path


def _shards(folder: Path, index: str) -> tuple[str, ...]:
    """List the files that an index names, sorted."""
    names = read_json(folder, index).get("weight_map")
    values = list(names.values()) if isinstance(names, dict) else []
    shards = sorted({value for value in values if isinstance(value, str)})
    if not shards or not all(isinstance(value, str) for value in values):
        raise ModelError(
            f"{folder / index}: expected weight_map to name a file for each tensor: download it "
            "again"
        )
    missing = [name for name in shards if not (folder / name).exists()]
    if missing:
        raise ModelError(
            f"{folder / index}: {len(missing)} of {len(shards)} files of weights are missing "
            f"({listed(missing, 3)}): download them as well"
        )
    return tuple(shards)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@dataclass(frozen=True)
class Labels:
    """The names of a model's classes."""

    names: tuple[str, ...] = ()
    """The names in order; empty if unknown."""
    note: str | None = None
    """The reason why names that are there are not taken."""


def labels_from(named: object, where: str) -> Labels:
    """Read the names of classes, by their index, as libraries keep them.

    Args:
        named: a mapping from 0, 1, 2, … to names, or a list of names; None for none.
        where: the beginning of the note.
    """
    if isinstance(named, dict):
        count = len(named)
        indices = [str(index) for index in range(count)]
        values = [named.get(index) for index in indices] if count <= MOST_LABELS else []
    elif isinstance(named, list):
        count, values = len(named), named
    elif named is None:
        return Labels()
    else:
        return Labels(note=f"{where}: the names of classes are not a list: they are ignored")
    if count > MOST_LABELS:
        return Labels(
            note=f"{where}: {count} classes have names, expected at most {MOST_LABELS}: they are "
            "ignored"
        )
    if not all(isinstance(value, str) for value in values):
        return Labels(
            note=f"{where}: the names of classes are not text for 0 to {count - 1}: they are "
            "ignored"
        )
    names = tuple(one_line(value) for value in values)
    # What a library writes if nobody gave names.
    made_up = names == tuple(f"LABEL_{index}" for index in range(count))
    return Labels() if made_up else Labels(names)
