"""The split of a run's record: run.json is the same in every repetition, environment.json is not.

run.json is committed as part of a baseline. So it has neither times nor versions, and its paths are
relative to the folder in which the command was given.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
from collections.abc import Container, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradviz.runs.schema import Environment, ImageRecord, ModelRecord, RunRecord

if TYPE_CHECKING:
    import torch

KEYS = ("folder", "versions", "started", "machine")
"""The keys of a record that environment.json has; the times of images are there as well."""


def split_record(record: RunRecord) -> tuple[RunRecord, Environment]:
    """Divide a record into the contents of run.json and of environment.json."""
    content = record.content()
    kept = {key: content.pop(key) for key in KEYS if key in content}
    times = {image["name"]: image.pop("modified", None) for image in content["images"]}
    known = {name: time for name, time in times.items() if time is not None}
    environment = Environment(schema=1, kind="environment", **kept, modified=known)
    return RunRecord.model_validate(content), environment


def join_record(record: RunRecord, environment: Environment | None) -> RunRecord:
    """Put a record together from the contents of its two files.

    Args:
        record: the content of run.json; of an earlier version of gradviz, it has everything.
        environment: the content of environment.json, if there is one.
    """
    if environment is None:
        return record if record.folder is None else portable(record, Path(record.folder))
    content = record.content() | {
        key: value for key, value in environment.content().items() if key in KEYS
    }
    for image in content["images"]:
        if image["name"] in environment.modified:
            image["modified"] = environment.modified[image["name"]]
    return RunRecord.model_validate(content)


def portable(record: RunRecord, folder: Path) -> RunRecord:
    """Make the paths of a record relative, so that it can be run again from its folder elsewhere.

    The specs of seeds stay as they were given: they name folders and results.

    Args:
        record: the record.
        folder: the absolute folder in which the command was given.
    """

    def short(text: str) -> str:
        return relative_paths(text, folder)

    def shortened(texts: dict[str, object], keys: tuple[str, ...]) -> dict[str, object]:
        return {
            key: short(text) if key in keys and isinstance(text, str) else text
            for key, text in texts.items()
        }

    model = shortened(record.model.content(), ("path", "card", "arch"))
    if isinstance(inputs := model.get("inputs"), dict):
        model["inputs"] = {name: shortened(each, ("path",)) for name, each in inputs.items()}
    changed = {
        "command": portable_command(record.command, folder),
        "model": ModelRecord.model_validate(model),
        "settings": shortened(record.settings, ("baseline", "inside")),
        "files": {short(path): digest for path, digest in record.files.items()},
        "images": [
            ImageRecord.model_validate(shortened(image.content(), ("path",)))
            for image in record.images
        ],
    }
    if record.preprocess_from:
        origins = record.preprocess_from.items()
        changed["preprocess_from"] = {step: short(origin) for step, origin in origins}
    return record.model_copy(update=changed)


def portable_command(command: Sequence[str], folder: Path) -> list[str]:
    """Make the paths of a command line relative to a folder; the program is called gradviz.

    A call in Python stays as it is.
    """
    if _is_call(command):
        return list(command)
    return ["gradviz", *(relative_paths(word, folder) for word in command[1:])]


def command_text(command: Sequence[str]) -> str:
    """Write a recorded command as a shell takes it, or a recorded call as Python does."""
    return command[0] if _is_call(command) else shlex.join(["gradviz", *command[1:]])


def _is_call(command: Sequence[str]) -> bool:
    """Return True if a command is a call in Python, which is one word; a program has options."""
    return len(command) == 1


def relative_paths(text: str, folder: Path) -> str:
    """Replace each absolute path in a word of a command by one relative to a folder.

    A word is a path as a whole, or has one after `=`, `:` or a space. `/` also begins what is no
    path, such as the name of a layer; a path begins with a name that is in the root folder.

    Args:
        text: the word.
        folder: the absolute folder.
    """

    def relative(found: re.Match[str]) -> str:
        path = found[2]
        exists = os.path.lexists("".join(Path(path).parts[:2]))
        return found[1] + (os.path.relpath(path, folder) if exists else path)

    return re.sub(r"(^|[=: ])(/[^:]*)", relative, text)


def seen_from(folder: Path, old: Any, new: Any, origin: Path) -> Any:
    """Rewrite the paths of an object for another folder, if they then are those of another object.

    Args:
        folder: the absolute folder to which the paths of the result are relative.
        old: a JSON value; which of its texts are paths is not known.
        new: the value that it is compared with; its paths are relative to `folder`.
        origin: the absolute folder to which the paths of `old` are relative.
    """

    def moved(text: str, known: Container[str]) -> str:
        there = os.path.relpath(origin / text, folder)
        return there if text not in known and there in known else text

    if isinstance(old, str):
        return moved(old, (new,))
    if isinstance(old, dict) and isinstance(new, dict):
        names = {key: moved(key, new) for key in old}
        return {
            names[key]: seen_from(folder, value, new.get(names[key]), origin)
            for key, value in old.items()
        }
    return old


def time_now() -> str:
    """The time in UTC, to the second, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine_of(device: torch.device) -> dict[str, str]:
    """Describe the machine, as far as numbers may depend on it.

    Args:
        device: the device of the model.
    """
    import torch

    found = {
        "system": platform.system(),
        "processor": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found
