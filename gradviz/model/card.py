"""Model cards: YAML files that describe the loading, the inputs and the output of a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, InstanceOf, ValidationError

from gradviz.errors import UsageError
from gradviz.files import disk
from gradviz.image.preprocess import Preprocess, preprocess_from
from gradviz.image.read import DEFAULT_MAX_PIXELS
from gradviz.labels import read_labels
from gradviz.strict_yaml import KeyPath, load_mapping
from gradviz.text import nearest


class Card(BaseModel):
    """The content of a card; missing keys are None or empty. Paths are resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    """The card's own file."""
    model: Path | None = None
    """The weights file; the card has its path relative to itself."""
    arch: str | None = None
    """A factory spec, as in `--arch`; its file, too, is relative to the card."""
    arch_args: dict[str, object] = {}
    """The arguments of the factory."""
    weights_key: str | None = None
    """The dotted key of the weights in a checkpoint."""
    preprocess: InstanceOf[Preprocess] | None = None
    """The preprocessing of images."""
    output: str | None = None
    """The dotted path of the chosen output."""
    boxes: Literal["xyxy", "xywh", "cxcywh"] | None = None
    """The form of a detector's boxes."""
    unit: str | None = None
    """The unit of the output's numbers, such as m."""
    labels: tuple[str, ...] = ()
    """The names of the classes, in order; the card may name a file that has them."""


_MUST_BE = {
    "model": "a path",
    "arch": "text such as file.py:factory",
    "arch_args": "a mapping from argument to value",
    "weights_key": "text",
    "preprocess": "a mapping",
    "output": "text",
    "boxes": "xyxy, xywh or cxcywh",
    "unit": "text such as m",
    "labels": "a list of text, or a file of labels",
}
"""The keys of a card, and the form of each value."""


def read_card(path: Path) -> Card:
    """Read a model card.

    Args:
        path: the file.

    Raises:
        UsageError: it cannot be read, has an unknown or duplicate key, or a value of a wrong type;
            the message names the file and the line.
    """
    entries, lines = load_mapping(path)
    for key in entries:
        if key not in _MUST_BE:
            advice = nearest(key, _MUST_BE, f"expected {', '.join(_MUST_BE)}")
            raise UsageError(f"{path}, line {lines[(key,)]}: unknown key {key!r}: {advice}")
    block = entries.get("preprocess")
    if isinstance(block, dict):
        where = f"{path}, line {lines[('preprocess',)]}, preprocess"
        entries["preprocess"] = preprocess_from(block, where)
    if isinstance(entries.get("labels"), str):
        where = f"{path}, line {lines[('labels',)]}"
        entries["labels"] = _labels_below(path.parent, str(entries["labels"]), where)
    try:
        card = Card.model_validate({**entries, "path": path})
    except ValidationError as error:
        raise UsageError(_in_words(path, error, lines)) from error
    return card.model_copy(
        update={
            "model": card.model and path.parent / card.model,
            "arch": card.arch and _beside(path, card.arch),
        }
    )


@dataclass(frozen=True)
class FoundCard:
    """A file that lies beside a model and may be its card."""

    card: Card | None = None
    note: str | None = None
    """The reason why a file of the right name is not taken for a card."""


def card_beside(model: Path) -> FoundCard:
    """Read the card of the same stem beside the file `model`, if there is one.

    The user did not name it, so it may not choose what is run: of what it holds, only `preprocess`,
    `output`, `boxes`, `unit` and `labels` are returned, and `max_pixels` is not above the default.
    A file with keys that no card has belongs to another program.

    Raises:
        UsageError: it has a card's keys only, and a value of a wrong type.
    """
    if model.is_dir():
        return FoundCard()
    for suffix in (".yaml", ".yml"):
        path = model.with_suffix(suffix)
        if not path.is_file():
            continue
        if odd := _oddness(path):
            return FoundCard(note=f"{path}: {odd}: it is not taken for the card of {model.name}")
        card = read_card(path)
        return FoundCard(
            Card(
                path=path,
                preprocess=card.preprocess and _within_limits(card.preprocess),
                output=card.output,
                boxes=card.boxes,
                unit=card.unit,
                labels=card.labels,
            )
        )
    return FoundCard()


def _oddness(path: Path) -> str | None:
    """Return the reason why a file is another program's; None if all its keys are a card's."""
    try:
        keys = [*load_mapping(path)[0]]
    except UsageError as error:
        if isinstance(error.__cause__, OSError):
            raise
        text = path.read_bytes().decode(errors="replace")
        keys = re.findall(r"^([^\s#:\[{-][^:\n]*):", text, re.MULTILINE)
    foreign = [key for key in keys if key not in _MUST_BE]
    if foreign:
        return f"has the key {foreign[0]!r}, which no card has"
    return None if keys else "has no key of a card"


def _within_limits(preprocess: Preprocess) -> Preprocess:
    most = min(preprocess.max_pixels, DEFAULT_MAX_PIXELS)
    return preprocess_from({**preprocess.as_dict(), "max_pixels": most}, "the card")


def read_preprocess(path: Path) -> Preprocess:
    """Read the preprocessing from a YAML file: its whole content, or the block of a card.

    Raises:
        UsageError: it cannot be read, or describes no preprocessing.
    """
    entries, _ = load_mapping(path)
    if "preprocess" not in entries:
        return preprocess_from(entries, str(path))
    preprocess = read_card(path).preprocess
    if preprocess is None:
        raise UsageError(f"{path}: preprocess is empty: expected a mapping")
    return preprocess


def _labels_below(folder: Path, name: str, where: str) -> tuple[str, ...]:
    """Read a card's file of labels. A stranger's card may not show what lies outside its folder."""
    file = folder / name
    with disk(file):
        if not file.is_file():
            raise UsageError(f"{where}: labels must be {_MUST_BE['labels']}, got {name!r}")
        if not file.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{where}: labels: {name!r} is outside the card's folder: copy it in")
    return read_labels(file)


def _beside(card: Path, arch: str) -> str:
    place, colon, name = arch.rpartition(":")
    return f"{card.parent / place}{colon}{name}" if place.endswith(".py") else arch


def _in_words(path: Path, error: ValidationError, lines: dict[KeyPath, int]) -> str:
    first = error.errors()[0]
    place = first["loc"]
    line = next(lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines)
    got = first["input"]
    quote = ": quote it to make it text" if isinstance(got, (bool, int, float)) else ""
    key = ".".join(map(str, place[:2]))
    return f"{path}, line {line}: {key} must be {_MUST_BE[str(place[0])]}, got {got!r}{quote}"
