"""Access to files that may fail: disk errors, decoder errors, zip archives."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import IO, BinaryIO

import numpy as np

from gradviz.arrays import Array
from gradviz.errors import GradvizError, MemoryShort, UsageError
from gradviz.text import one_line

ALLOWED = 1 << 28
"""The bytes that any archive may unpack to."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
"""The flags that open a file which does not exist, and so is no link either."""
RATIO = 10
"""The largest ratio of unpacked to packed bytes of a larger archive. PyTorch stores numbers
uncompressed, so a model has about the size of its file; deflate packs up to a thousand bytes into
one."""


def members(
    file: str | Path | IO[bytes], where: str, failure: type[GradvizError]
) -> list[zipfile.ZipInfo]:
    """List the members of a zip archive; none if it is damaged, or not an archive.

    Args:
        file: the archive's path, or the archive opened for reading.
        where: the beginning of the message.
        failure: the type of the error that is raised.

    Raises:
        failure: its members add up to too much, or the name of one leads out of the archive.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
            size = archive.start_dir
    # Raised also for names that are not text, and for versions that do not exist.
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


NO_TEMPORARY = (
    "there is no temporary folder that can be written, and a library needs one: set TMPDIR to one"
)


def lacks_temporary(error: BaseException) -> bool:
    """Return True if an error comes from a machine without a temporary folder."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, FileNotFoundError) and "No usable temporary" in str(chain.args):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn an error of the disk into a UsageError that names the path."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


@contextmanager
def reading(path: Path, failure: type[UsageError] = UsageError) -> Iterator[None]:
    """Turn any exception of a decoder on `path` into one line of `failure`.

    Errors of gradviz pass through, so that a decoder's caller can be more precise.

    Args:
        path: the file that is decoded.
        failure: the type of the error that is raised.
    """
    try:
        yield
    except GradvizError:
        raise
    except MemoryError as error:
        raise MemoryShort(
            f"{path}: too little memory to read it; give it to another machine, or a smaller copy"
        ) from error
    except FileNotFoundError as error:
        raise failure(f"{path}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise failure(f"{path}: is a folder, expected a file; name a file in it") from error
    except PermissionError as error:
        raise failure(f"{path}: permission denied; make the file readable") from error
    except NotRegularError as error:
        raise failure(f"{path}: {error.strerror}") from error
    # Decoders walk bytes that may be damaged, and each fails on them in its own way.
    except Exception as error:
        reason = one_line(error) or type(error).__name__
        raise failure(
            f"{path}: cannot be decoded ({reason}); the file may be damaged or incomplete, "
            "save or copy it again"
        ) from error


class NotRegularError(OSError):
    """The failure to open a pipe, or a device."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read it. A pipe that nobody writes to would be waited for without end.

    Raises:
        NotRegularError: it is no regular file.
        OSError: the disk refuses.
    """
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise NotRegularError(errno.EINVAL, "is no regular file; save its content as one")
    return os.fdopen(number, "rb")


def write_whole(place: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write one file, whole or not at all. A link at its place is replaced, not followed.

    Args:
        place: the path of the file.
        write: the function that writes the content to an open file.

    Raises:
        UsageError: the disk refuses.
    """
    with disk(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_at(place, write)


def write_at(
    place: str | Path, write: Callable[[BinaryIO], object], folder: int | None = None
) -> None:
    """Write one file, whole or not at all, as `write_whole` does.

    Args:
        place: the file; below `folder` if that is given.
        write: writes the content to the file that it is given.
        folder: the descriptor of a folder.

    Raises:
        OSError: the disk refuses.
    """
    unfinished = Path(place).with_name(f".{Path(place).name}.part")
    # What is there is not opened: it may be a link to somebody's file.
    with suppress(FileNotFoundError):
        os.unlink(unfinished, dir_fd=folder)
    try:
        # A signal may come while the file is made: it is there, and nothing holds its number yet.
        with os.fdopen(os.open(unfinished, NEW_FILE, 0o666, dir_fd=folder), "wb") as file:
            write(file)
        os.replace(unfinished, place, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:  # made by another in the meantime
        raise
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=folder)
        raise


def write_npy(array: Array, file: BinaryIO) -> None:
    """Write an array in NumPy's format.

    Args:
        array: numbers or truth values of any shape.
        file: the open file.

    Raises:
        OSError: the disk is full.
    """
    # NumPy writes into a real file by C's streams, and does not check whether their last buffers
    # were written. It writes into any other object by its method `write`.
    np.save(SimpleNamespace(write=file.write), array)
