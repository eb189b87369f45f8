"""The start of a run in its folder: locked, and begun anew or resumed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gradviz.errors import UsageError
from gradviz.files import disk
from gradviz.runs.folder import RUN, RunFolder
from gradviz.runs.lock import FolderLock, lock_folder
from gradviz.runs.record import changes_between
from gradviz.runs.schema import AnyRecord, Done, Failed, FieldDone, ResultLine, RunRecord
from gradviz.runs.shards import Shard


class RunWriter(RunFolder):
    """The folder of a run that writes, or the part of it that a shard writes."""

    def __init__(self, out: Path, shard: Shard | None = None) -> None:
        super().__init__(out, shard)
        self._lock: FolderLock | None = None
        self._replaces = True

    @contextmanager
    def held(self, *, overwrite: bool, resume: bool) -> Iterator[None]:
        """Lock the folder for this run. Creates it; removes it again if nothing was written.

        Args:
            overwrite: True if results in the folder may be replaced.
            resume: True if results in the folder may be continued.

        Raises:
            UsageError: as `check`; or another run is writing there.
        """
        self.check(overwrite=overwrite, resume=resume)
        made = [path for path in (self.out, *self.out.parents) if not path.exists()]
        self._replaces = overwrite
        with disk(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        try:
            with ExitStack() as until_done:
                with disk(self.out):
                    self._lock = until_done.enter_context(lock_folder(self.out, self.shard))
                # Another run may have begun and ended in between.
                self.check(overwrite=overwrite, resume=resume)
                yield
        finally:
            with suppress(OSError):  # not empty
                for path in made:
                    path.rmdir()

    def check(self, *, overwrite: bool, resume: bool) -> None:
        """Check early that the folder can be used.

        Args:
            overwrite: True if results in the folder may be replaced.
            resume: True if results in the folder may be continued.

        Raises:
            UsageError: the folder cannot be written; or it holds results, and neither `overwrite`
                nor `resume` was given.
        """
        with disk(self.out):
            place = next(
                path for path in (self.out, *self.out.absolute().parents) if os.path.lexists(path)
            )
            if not place.is_dir():
                raise UsageError(f"{self.out}: {place} is not a folder; choose another -o")
            if not os.access(place, os.W_OK | os.X_OK):
                raise UsageError(f"{self.out}: {place} is not writable; choose another -o")
            place.joinpath(self.out.name).exists()  # a name can be too long
        if overwrite or resume:
            return
        self._refuse(self.lines() if self.shard is None else self.own())

    def _refuse(self, lines: Iterable[ResultLine]) -> None:
        """Refuse to lose results without the user's consent."""
        if any(isinstance(line, FieldDone) for line in lines):
            raise UsageError(
                f"{self.out}: holds the results of a run; give --overwrite to replace them, "
                "--resume to finish them, or another -o"
            )

    def begin(self, record: AnyRecord, documents: Iterable[str] = ()) -> None:
        """Start a run, and remove the files of an earlier run here, and nothing else.

        A shard joins the run of the others, if there is one.

        Args:
            record: the content of run.json.
            documents: the names of files that belong to no single result.

        Raises:
            UsageError: the other shards run something else, or the disk refuses.
        """
        with disk(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        with self.exclusive():
            if self._joins(record):
                self._drop(self.own())
                with disk(self.out):
                    (self.out / self.results).unlink(missing_ok=True)
            else:
                if self.shard is not None and not self._replaces:
                    self._refuse(self.lines())
                self._clear(documents)
                self.save_document(RUN, record)

    def resume(self, record: RunRecord) -> list[Done]:
        """Continue the run in the folder, or begin one.

        Args:
            record: the content of run.json for the present run.

        Returns:
            the complete results: all of their files exist, and their image has not changed.

        Raises:
            UsageError: the folder holds the results of another run, or of one that was cut into
                other shards.
        """
        if not (self.out / RUN).exists():
            self.begin(record)
            return []
        before = self.record()
        if different := list(changes_between(before, record)):
            raise UsageError(
                f"{self.out}: holds another run ({'; '.join(different[:3])}); "
                "repeat its command to resume it, or choose another -o"
            )
        if foreign := self._foreign():
            raise UsageError(
                f"{self.out}: holds {foreign[0].name} of a run that was not cut into shards like "
                f"{self.results}; resume it as it was run, or all of it without --shard"
            )
        unchanged = {image.name for image in record.images if image in before.images}
        with self.exclusive():
            self.save_document(RUN, record)
        return [
            line
            for line in self.lines()
            if isinstance(line, Done)
            and line.image in unchanged
            and all((self.out / name).is_file() for name in line.files.values())
        ]

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep the run's other shards from changing shared files, for a moment."""
        if self._lock is None or self.shard is None:
            yield
        else:
            with self._lock.exclusive():
                yield

    def _joins(self, record: AnyRecord) -> bool:
        """Return True if the folder holds the run of which this is a shard."""
        if self.shard is None or not (self.out / RUN).exists():
            return False
        same = not list(changes_between(self.record(), record)) and not self._foreign()
        if not same and self._lock is not None and self._lock.has_others(self.shard):
            raise UsageError(
                f"{self.out}: other shards are at work on something else; give all shards the same "
                "command, or choose another -o"
            )
        return same

    def _foreign(self) -> list[Path]:
        """List the files of results of a run that was cut into other shards."""
        if self.shard is None:
            return []
        ours = f"-of-{self.shard.count}.jsonl"
        return [path for path in self.results_files() if not path.name.endswith(ours)]

    def _drop(self, lines: Iterable[ResultLine]) -> None:
        """Remove the files of results."""
        for line in lines:
            for name in [] if isinstance(line, Failed) else line.files.values():
                with disk(self.out / name):
                    (self.out / name).unlink(missing_ok=True)

    def _clear(self, documents: Iterable[str]) -> None:
        """Remove the files that the run.json in the folder lists, finished or not."""
        for path in self._written():
            with disk(path):
                path.unlink(missing_ok=True)
                for folder in path.parents:
                    if folder == self.out or any(folder.iterdir()):
                        break
                    folder.rmdir()
        for path in (*self.results_files(), *(self.out / name for name in (RUN, *documents))):
            with disk(path):
                path.unlink(missing_ok=True)

    def _written(self) -> Iterator[Path]:
        """Yield the files in the folders of the images that have names of files of a run."""
        try:
            before = self.record()
        except UsageError:
            return  # without a valid record no files are known
        names = {Path(name).name for name in before.writes}
        unfinished = {f".{name}.part" for name in names}
        for folder in (self.out / image.name for image in before.images):
            if folder.resolve().is_relative_to(self.out.resolve()):
                yield from [path for path in folder.glob("*/*") if path.name in names | unfinished]
