"""What a decoder raises and the user reads, and files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gradviz.errors import ImageError, ModelError, UsageError
from gradviz.files import reading, write_whole


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


def test_a_signal_while_a_file_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python raises its interrupt after the call that makes the file, before the next step."""
    make = os.open

    def made_and_interrupted(*how: Any, **more: Any) -> int:
        os.close(make(*how, **more))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", made_and_interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_whole(tmp_path / "a.png", lambda file: file.write(b"whole"))
    assert [*tmp_path.iterdir()] == []
