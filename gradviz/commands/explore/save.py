"""Saving an answer: a run of `saliency` in a new folder below that of the page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from gradviz.commands.saliency.run import Job, SaliencyRun
from gradviz.errors import UsageError
from gradviz.files import disk
from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import Failed


def new_folder(out: Path) -> Path:
    """Create a folder with the next free number below another.

    Args:
        out: the folder above, which is created if it is missing.

    Raises:
        UsageError: the disk refuses.
    """
    with disk(out):
        out.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            with suppress(FileExistsError):
                folder = out / f"{number:03}"
                folder.mkdir()  # a link of that name exists too
                return folder
    raise AssertionError("numbers do not end")


def save(job: Job, folder: Path) -> None:
    """Run a job into an empty folder. If that fails, what was written goes again, and the folder.

    Args:
        job: the model, one image and one seed.
        folder: the folder.

    Raises:
        GradvizError: the run fails, or the image does.
    """
    writer = _Undoable(folder)
    try:
        with writer.held(overwrite=False, resume=False), SaliencyRun(job, writer) as run:
            for line in run:
                if isinstance(line, Failed):
                    raise UsageError(line.error.message)
    except BaseException:
        with suppress(UsageError, OSError):  # what others put there stays, and the folder with it
            writer.undo()
            folder.rmdir()
        raise


class _Undoable(RunWriter):
    """The new folder of a run whose files can be removed again."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._written = {self.results}

    def save(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        self._written.add(name)
        super().save(name, write)

    def undo(self) -> None:
        """Remove the files that were written, and the folders that are empty afterwards.

        Raises:
            UsageError: the disk refuses.
        """
        for name in self._written:
            folder, _, file = name.rpartition("/")
            if folder:
                self._directory.clear(folder, [file])
            else:
                self._directory.remove(name)
