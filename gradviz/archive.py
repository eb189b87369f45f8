"""What a zip archive says of itself, looked at before anything in it is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from gradviz.errors import GradvizError

ALLOWED = 1 << 28
"""Bytes that any archive may unpack to."""
RATIO = 10
"""How many times its own size a larger one may unpack to. PyTorch stores numbers as they are, so a
model has about the size of its file; deflate, at its best, packs a thousand bytes into one."""


def members(
    file: str | Path | IO[bytes], where: str, failure: type[GradvizError]
) -> list[zipfile.ZipInfo]:
    """The members of a zip archive; none where it is damaged, or no archive at all.

    Args:
        where: what the message begins with.
        failure: what is raised.

    Raises:
        failure: its members add up to too much, or the name of one leads out of the archive.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
            size = archive.start_dir
    # Of names that are no text, and of versions that there never were.
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError):
        return []
    unpacked = sum(member.file_size for member in found)
    if unpacked > max(ALLOWED, RATIO * size):
        raise failure(
            f"{where}: a zip file of {_bytes(size)} that would unpack to {_bytes(unpacked)}, "
            f"expected at most {_bytes(ALLOWED)}, or {RATIO} times its size: if it is no zip bomb, "
            "save it again without compression"
        )
    for member in found:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise failure(
                f"{where}: a zip file with a member that leads out of it, {member.filename!r}: "
                "get the file from whoever made it"
            )
    return found


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.0f} GB"
