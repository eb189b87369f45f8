"""What a decoder raises, and what the user reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradviz.errors import ImageError, ModelError, UsageError
from gradviz.files import reading


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\nlines"), "cannot be decoded (two lines); the file may be damaged"),
        (EOFError(), "cannot be decoded (EOFError); the file may be damaged"),
        (FileNotFoundError(2, "gone"), "no such file; check the path"),
        (IsADirectoryError(21, "folder"), "is a folder, expected a file"),
        (PermissionError(13, "no"), "permission denied; make the file readable"),
    ],
)
def test_one_line(error: Exception, reason: str) -> None:
    with pytest.raises(ImageError) as caught, reading(Path("a.png"), ImageError):
        raise error
    assert str(caught.value).startswith(f"a.png: {reason}")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ModelError("ours"), UsageError("ours"), KeyboardInterrupt()])
def test_what_is_not_a_decoders_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, reading(Path("a.png"), ImageError):
        raise error
    assert caught.value is error
