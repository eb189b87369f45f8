"""Making the record of a run from its settings, and comparing it with that of an earlier run."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradviz.errors import ImageError
from gradviz.files import open_regular, reading
from gradviz.image.find import Source
from gradviz.image.preprocess import Preprocess
from gradviz.runs.environment import machine_of, portable, seen_from, time_now
from gradviz.runs.schema import AnyRecord, ImageRecord, ModelRecord, RunKind, RunRecord
from gradviz.version import VERSION

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from gradviz.model.model import Model


@dataclass(frozen=True)
class RunSetup:
    """The settings of a run that determine its results, without the images."""

    kind: RunKind
    """The command's name."""
    model: Model
    preprocess: Preprocess
    settings: DataclassInstance
    """The options of the command itself."""


def describe(
    setup: RunSetup,
    sources: Sequence[Source],
    writes: Sequence[str],
    command: Sequence[str],
    files: Sequence[Path] = (),
) -> RunRecord:
    """Describe everything needed to repeat a run, and to tell it from a different one.

    Args:
        setup: the settings that determine the results.
        sources: the images.
        writes: the names of the files that each result may have.
        command: the command line of the program.
        files: the files that the command read besides the model and the images.

    Raises:
        UsageError: one of the files cannot be read any more.
    """
    import torch  # slow to import, and readers of a record do not need it

    model = setup.model
    arch = (model.arch or "").rpartition(":")[0]
    named = [Path(arch)] if arch.endswith(".py") else []
    # The file that is named has its own key, whatever the path to it.
    known = {str(path.absolute()) for path in named}
    imported = {
        path: digest
        for path, digest in model.code.files.items()
        if str(Path(path).absolute()) not in known
    }
    here = Path.cwd()
    record = RunRecord(
        schema=2,
        kind=setup.kind,
        command=list(command),
        folder=str(here),
        started=time_now(),
        machine=machine_of(model.device),
        versions={
            "gradviz": VERSION,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
            **model.code.packages,
        },
        model=ModelRecord.model_validate(model.describe()),
        preprocess=setup.preprocess.as_dict(),
        preprocess_from=dict(setup.preprocess.origins),
        settings=asdict(setup.settings),
        files={**{str(path): _digest(path) for path in (*named, *files)}, **imported},
        images=[image_record(source) for source in sources],
        writes=list(writes),
    )
    return portable(record, here)


def image_record(source: Source) -> ImageRecord:
    """Enough to notice another image of the same name, without reading it."""
    path = source.place
    try:
        status = path.stat()
    except OSError:  # the run fails at this image later, with a better message
        return ImageRecord(name=source.name, path=str(path))
    return ImageRecord(
        name=source.name, path=str(path), bytes=status.st_size, modified=status.st_mtime_ns
    )


def check_same(source: Source, before: ImageRecord | None, again: str = "run it again") -> None:
    """Refuse an image that was replaced: what was read before would belong to another one.

    Args:
        source: the image.
        before: what was recorded of it when the run began.
        again: the advice.

    Raises:
        ImageError: it was replaced.
    """
    if before is None or not source.place.exists():
        return
    if not is_same_file(before, image_record(source)):
        raise ImageError(f"{source.path}: was replaced while the run was under way; {again}")


def is_same_file(before: ImageRecord, now: ImageRecord) -> bool:
    """Return True if an image is the one that was recorded, by its size and its time, if known."""
    same_time = before.modified == now.modified or None in (before.modified, now.modified)
    return before.size == now.size and same_time


def _digest(path: Path) -> str:
    with reading(path), open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


VOLATILE = frozenset({"command", "folder", "started", "machine", "preprocess_from"})
"""The keys of a record that may differ between two parts of one run."""


def changes_between(before: AnyRecord, now: AnyRecord) -> Iterator[str]:
    """Yield the keys of a record that make two runs different, and the differences.

    An image may have changed in between, and shards run on devices of their own.

    Args:
        before: the record of the earlier run.
        now: the record of the present run.
    """
    old, new = _settled(before), _settled(now)
    if before.kind != "compare" and now.kind != "compare" and before.folder and now.folder:
        old = seen_from(Path(now.folder), old, new, Path(before.folder))
    if not old.get("versions"):  # environment.json was not kept
        old.pop("versions", None)
        new.pop("versions", None)
    # Runs of version 0.1.0 do not say it.
    if "optimized" not in old["model"]:
        new["model"].pop("optimized", None)
    return differences(old, new)


def _settled(record: AnyRecord) -> dict[str, Any]:
    """Select the parts of a record that must be the same in all parts of one run."""
    content = json.loads(record.json_text())
    fixed = {key: value for key, value in content.items() if key not in VOLATILE}
    model = dict(content.get("model", {}))
    model["device"] = str(model.get("device")).partition(":")[0]
    # A step that an earlier version did not have was left out.
    steps = {**Preprocess().as_dict(), **content["preprocess"]}
    images = [image["name"] for image in content["images"]]
    return {**fixed, "model": model, "preprocess": steps, "images": images}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys in which two JSON objects differ, by their dotted names, and the differences.

    Args:
        before: the earlier object.
        now: the later object.
    """
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
