"""What goes wrong while a file is read, told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradviz.errors import GradvizError, UsageError, one_line


@contextmanager
def reading(path: Path, failure: type[UsageError] = UsageError) -> Iterator[None]:
    """Turn whatever a decoder raises on `path` into one line of `failure`.

    Errors of gradviz pass through, so that a decoder's caller can be more precise.
    """
    try:
        yield
    except GradvizError:
        raise
    except FileNotFoundError as error:
        raise failure(f"{path}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise failure(f"{path}: is a folder, expected a file; name a file in it") from error
    except PermissionError as error:
        raise failure(f"{path}: permission denied; make the file readable") from error
    # Decoders walk bytes that may be damaged, and each fails on them in its own way.
    except Exception as error:
        reason = one_line(error) or type(error).__name__
        raise failure(
            f"{path}: cannot be decoded ({reason}); the file may be damaged or incomplete, "
            "save or copy it again"
        ) from error
