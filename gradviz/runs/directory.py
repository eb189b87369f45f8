"""The folder that a run writes into: every write and every removal in it goes through here.

A folder may come from a stranger, or be changed while a run is going. So its real path is settled
once, and each name below it is followed from a descriptor, part by part, and through no link.
Nothing outside of the folder can be reached that way.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gradviz.errors import UsageError
from gradviz.files import disk, write_at

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags to open a file that is no link; a pipe without a reader is an error, and does not wait."""


_syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if os.name == "posix" else None
"""Makes one disk safe; elsewhere than on Linux it is all disks or none."""


class Directory:
    """A folder, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._named = path
        with disk(path):
            self.real = Path(os.path.realpath(path))
            """The path without links, whatever the working folder becomes."""

    def make(self) -> list[Path]:
        """Create the folder; return what was created, the innermost first."""
        with disk(self._named):
            made = [path for path in (self.real, *self.real.parents) if not path.exists()]
            self.real.mkdir(parents=True, exist_ok=True)
        return made

    def write(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Write one file, whole or not at all; create the folders above it.

        Args:
            name: the path below this folder.
            write: writes the content to the file that it is given.

        Raises:
            UsageError: the disk refuses, or a folder above the file is a link.
        """
        with disk(self._named / name):
            if not self.real.is_dir():
                self.make()
            with self._above(name, make=True) as (folder, last):
                write_at(last, write, folder)

    def append(self, name: str, content: bytes) -> None:
        """Add to the end of a file.

        Raises:
            UsageError: the disk refuses, or the file is a link.
        """
        with disk(self._named / name):
            number = self.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            with os.fdopen(number, "ab") as file:
                file.write(content)

    def open(self, name: str, flags: int) -> int:
        """Open a file itself, which must be no link.

        Raises:
            OSError: the disk refuses, or it is no regular file.
        """
        with self._above(name) as (folder, last):
            try:
                number = os.open(last, flags | _NO_LINK, 0o666, dir_fd=folder)
            except OSError as error:
                raise _explained(error, last, folder) from error
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise OSError(errno.EINVAL, "is no regular file; remove it, or choose another -o")
        return number

    def sync(self) -> None:
        """Make all that was written so far safe from a power cut.

        Raises:
            UsageError: the disk refuses.
        """
        with disk(self._named):
            if _syncfs is None:
                os.sync()
                return
            folder = _open_folder(str(self.real), None)
            try:
                if _syncfs(folder):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            finally:
                os.close(folder)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. A link is removed itself; a folder stays.

        Raises:
            UsageError: the disk refuses.
        """
        with (
            disk(self._named / name),
            suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError),
            self._above(name) as (folder, last),
        ):
            os.unlink(last, dir_fd=folder)

    def entries(self, name: str = "") -> list[str]:
        """The names in this folder, or one below; none if it is not there, or reached by a link."""
        below = f"{name}/_" if name else "_"
        with (
            disk(self._named / name),
            suppress(FileNotFoundError, NotADirectoryError),
            self._above(below) as (folder, _),
        ):
            return sorted(os.listdir(folder))
        return []

    def clear(self, name: str, files: Collection[str]) -> None:
        """Remove those of the files from a folder, and the folders that are empty afterwards.

        Args:
            name: the folder; nothing is removed if it is not there, or reached by a link.
            files: the names of files.

        Raises:
            UsageError: the disk refuses.
        """
        with disk(self._named / name):
            try:
                with self._above(f"{name}/_") as (folder, _):
                    for each in sorted({*os.listdir(folder)} & {*files}):
                        with suppress(FileNotFoundError, IsADirectoryError):
                            os.unlink(each, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError):
                return
        parts = name.split("/")
        with suppress(OSError):  # not empty
            for depth in range(len(parts), 0, -1):
                with self._above("/".join(parts[:depth])) as (folder, last):
                    os.rmdir(last, dir_fd=folder)

    @contextmanager
    def _above(self, name: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """The descriptor of the folder that holds a file, and the file's name in it."""
        *parts, last = _parts(name)
        with ExitStack() as opened:
            folder = _open_folder(str(self.real), None)
            opened.callback(os.close, folder)
            for part in parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=folder)
                folder = _open_folder(part, folder)
                opened.callback(os.close, folder)
            yield folder, last


def _open_folder(name: str, above: int | None) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=above)
    except OSError as error:
        raise _explained(error, name, above) from error


def _explained(error: OSError, name: str, above: int | None) -> OSError:
    """The same error; a link is called by its name."""
    with suppress(OSError):
        if stat.S_ISLNK(os.lstat(name, dir_fd=above).st_mode):
            says = f"{name} is a link, and nothing is written through links"
            return NotADirectoryError(errno.ENOTDIR, f"{says}; remove it, or choose another -o")
    return error


def _parts(name: str) -> list[str]:
    """The parts of a path below the folder.

    Raises:
        UsageError: it leads out of the folder, or no file can have such a name.
    """
    parts = name.split("/")
    try:
        odd = b"\0" in os.fsencode(name)
    except UnicodeEncodeError:
        odd = True
    if odd or {"", ".", ".."} & {*parts}:
        raise UsageError(f"{name!r}: is no name of a file below the output folder")
    return parts
