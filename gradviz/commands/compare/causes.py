"""The differences in how two runs were made, by their records."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from gradviz.runs.record import differences
from gradviz.runs.schema import RunRecord
from gradviz.text import listed, one_line, shortened

MOST_OF_A_PART = 3
"""The most differences of each part of the records that an error names."""

LONGEST = 100
"""The most characters of one of them."""

WORDS = {
    "model.sha256 ": "weights",
    "model.": "model",
    "preprocess.": "preprocessing",
    "settings.": "settings",
    "files.": "files",
    "images.": "images",
    "versions.": "versions",
    "machine.": "machine",
}
"""The word of an error for the keys of a record that begin so; the first one holds."""

DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")


def setup_of(record: RunRecord) -> dict[str, Any]:
    """Select the parts of a run's record that can change its results, apart from its images."""
    content = record.content()
    kept: dict[str, Any] = {"versions": record.versions}
    kept |= {key: content[key] for key in ("model", "preprocess", "settings")}
    kept["model"] = {k: v for k, v in kept["model"].items() if k not in ("path", "card")}
    # Files are compared by name and content: a baseline is often made in another folder.
    if "inputs" in kept["model"]:
        kept["model"]["inputs"] = {
            name: {**each.content(), "path": Path(each.path or "").name}
            for name, each in (record.model.inputs or {}).items()
        }
    kept["files"] = {Path(path).name: digest for path, digest in record.files.items()}
    return kept


def changed_setup(a: RunRecord, b: RunRecord) -> list[str]:
    """List the differences of two records that can change results, by their dotted names."""
    was, now = ({**setup_of(record), "images": _sizes(record)} for record in (a, b))
    shared = was["images"].keys() & now["images"].keys()
    for setup in (was, now):
        setup["images"] = {name: setup["images"][name] for name in sorted(shared)}
    if not (a.versions and b.versions):  # environment.json was not kept
        was["versions"] = now["versions"] = {}
    return [*differences(was, now)]


def _sizes(record: RunRecord) -> dict[str, dict[str, int | None]]:
    return {image.name: {"bytes": image.size} for image in record.images}


def cause(a: RunRecord, b: RunRecord) -> str:
    """Name in one phrase what may have made the results of two runs differ, by their records.

    A file of TorchScript or an exported program has the code beside the weights; its digest does
    not tell them apart.
    """
    changed = changed_setup(a, b)
    if a.machine and b.machine:
        changed += differences({"machine": a.machine}, {"machine": b.machine})
    words = WORDS if b.model.arch else {**WORDS, "model.sha256 ": "the model's file"}
    parts: defaultdict[str, list[str]] = defaultdict(list)
    for each in changed:
        start = next(start for start in words if each.startswith(start))
        difference = DIGEST.sub(r"\1…", one_line(each.partition(".")[2]))
        parts[words[start]].append(shortened(difference, LONGEST))
    if parts:
        named = (
            f"{word} ({listed(parts[word], MOST_OF_A_PART)})"
            for word in words.values()
            if word in parts
        )
        return f"by their records, the runs differ in {', '.join(named)}"
    unknown = (
        "" if a.versions and b.versions else "; without environment.json, versions are unknown"
    )
    return f"by their records, the runs do not differ{unknown}"
