"""The names of the files of a run, and how they are recognised before anything is removed."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence

from gradviz.errors import UsageError
from gradviz.runs.schema import AnyRecord, CompareRecord

RUN = "run.json"
ENVIRONMENT = "environment.json"
RESULTS = "results.jsonl"
FIELDS = "field.json"
COMPARED = "compare.json"
GROWTH = "growth.png"
BOXES = "boxes.npy"
NOISE = "noise"
"""The name that stands for an image if there is none."""
MEAN = "mean"
"""The name of the mean of a field over all images."""
LOCK = ".lock"
"""The name of the lock file; it is removed when no run is writing."""

RESULT_FILES = frozenset(
    {
        *("gradient", "activation", "attribution", "structural", "local", "effective", "closeup"),
        "magnitude",
        *("heatmap", "signed", "rgb", "positive", "negative", "gray", "overlay", "marked"),
        "output",
    }
)
"""The stems of all files that any version wrote for a result, which tests hold complete."""

DEFAULT_SEEDS = ("ones", "top", "box:0")
"""The seeds that are taken if none is named, and that a record does not name then."""

LONGEST_NAME = 255
"""Bytes of a file's name, on most disks."""


def is_results(name: str) -> bool:
    """Return True if a file of this name takes the results of a run, or of a shard."""
    return re.fullmatch(r"results(\.\d{1,9}-of-\d{1,9})?\.jsonl", name, re.ASCII) is not None


def seed_folders(specs: Sequence[str]) -> dict[str, str]:
    """The folder name of each spec.

    Specs that would share one get a piece of their hash, and so do those that are too long.
    """
    plain = {spec: re.sub(r"[^A-Za-z0-9._-]", "-", spec) for spec in specs}
    users = Counter(plain.values())
    return {
        spec: name
        if users[name] == 1 and len(name) <= LONGEST_NAME
        else f"{name[: LONGEST_NAME - 9]}-{_digest(spec)}"
        for spec, name in plain.items()
    }


def _digest(spec: str) -> str:
    return hashlib.sha256(spec.encode(errors="surrogatepass")).hexdigest()[:8]


def check_image_names(names: Sequence[str]) -> None:
    """Refuse images whose results would lie where other files of the run do.

    Raises:
        UsageError: an image has the name of a file of the run, or of a result of another image.
    """
    known = {*names}
    for name in names:
        parts = name.split("/")
        first = parts[0]
        if first in {RUN, ENVIRONMENT, FIELDS, COMPARED, GROWTH, BOXES, LOCK} or is_results(first):
            raise UsageError(
                f"an image cannot be called {name}: {first} is a file of the run; rename it"
            )
        for depth in range(1, len(parts) - 1):
            other = "/".join(parts[:depth])
            if other in known and is_result_file(parts[depth + 1]):
                raise UsageError(
                    f"an image cannot be called {name}: a result of {other} has that name; "
                    "rename one of them"
                )


def is_result_file(name: str) -> bool:
    """Return True if a result may have a file of this name."""
    stem, dot, suffix = name.rpartition(".")
    return bool(dot) and suffix in ("npy", "npz", "png") and stem in RESULT_FILES


def is_result_path(path: str, image: str | None) -> bool:
    """Return True if a result of an image may lie at a path below the folder."""
    place, _, file = path.rpartition("/")
    return is_below(path) and place.rpartition("/")[0] == image and is_result_file(file)


def is_below(name: str) -> bool:
    """Return True if a name is a path below a folder, written in the plainest way."""
    try:
        data = os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return b"\0" not in data and not {"", ".", ".."} & {*name.split("/")}


def own_images(record: AnyRecord) -> list[str]:
    """The images of a record whose results could lie in its folder."""
    return [image.name for image in record.images if is_below(image.name)]


def own_files(record: AnyRecord) -> set[str]:
    """The files that each result of a record may have, finished or not."""
    names = {name for name in record.writes if is_result_file(name)}
    return names | {f".{name}.part" for name in names}


def own_folders(record: AnyRecord, seeds: Sequence[str]) -> Callable[[str], bool]:
    """Decide which folders of an image hold the results of a record.

    Args:
        record: the content of run.json.
        seeds: the seeds of the results that are there.
    """
    runs = record.runs if isinstance(record, CompareRecord) else [record]
    known = {*seed_folders(DEFAULT_SEEDS).values(), *seed_folders(seeds).values()}
    for run in runs:
        given = run.settings.get("seeds")
        specs = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
        known |= {*seed_folders(specs).values(), *specs_alone(specs)}
    fields = any(run.kind == "receptive-field" for run in runs)

    def is_own(name: str) -> bool:
        pixel = fields and re.fullmatch(r"pixel-\d+-\d+", name, re.ASCII) is not None
        return name not in (".", "..") and (pixel or name in known)

    return is_own


def specs_alone(specs: Sequence[str]) -> set[str]:
    """The folder names of specs that are each the only one."""
    return {name for spec in specs for name in seed_folders([spec]).values()}
