"""Files that belong to images: in another folder, under the images' names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from gradviz.errors import UsageError

ByStem = Mapping[PurePosixPath, Sequence[Path]]
"""Files by their paths below a folder, without the suffix."""


def files_by_stem(folder: Path, suffixes: Collection[str]) -> ByStem:
    """Find the files below a folder that have one of some suffixes, whatever their capitals."""
    found = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes:
            found[PurePosixPath(path.relative_to(folder).with_suffix(""))].append(path)
    return found


def file_of(image: str, found: ByStem, what: str, suffix: str) -> Path:
    """Find the one file of an image: `deep/a.png` for `deep/a.jpg`.

    Args:
        image: the name of the image.
        found: the files.
        what: what the file is, for messages.
        suffix: a suffix that it may have, for messages.

    Raises:
        UsageError: there is none, or more than one.
    """
    stem = PurePosixPath(image).with_suffix("")
    files = found.get(stem, [])
    if not files:
        raise UsageError(f"no {what} for {image}; expected {stem} with {suffix}")
    if len(files) > 1:
        raise UsageError(
            f"{' and '.join(file.name for file in files)} could each be the {what} of {image}; "
            "keep one"
        )
    return files[0]
