"""The start of a run in its folder: locked, and begun anew or resumed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gradviz.errors import UsageError
from gradviz.files import disk
from gradviz.runs.durable import is_whole
from gradviz.runs.folder import RunFolder
from gradviz.runs.lock import FolderLock, lock_folder
from gradviz.runs.names import ENVIRONMENT, RUN, own_files, own_folders, own_images
from gradviz.runs.record import changes_between, is_same_file
from gradviz.runs.schema import (
    AnyRecord,
    Done,
    Failed,
    FieldDone,
    ImageRecord,
    ResultLine,
    RunRecord,
)
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
        self._replaces = overwrite
        made = self._directory.make()
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
            place = next(path for path in (self.out, *self.path.parents) if os.path.lexists(path))
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
            record: the contents of run.json and environment.json.
            documents: the names of files that belong to no single result.

        Raises:
            UsageError: the other shards run something else, or the disk refuses.
        """
        self._directory.make()
        with self.exclusive():
            if self._joins(record):
                self._drop(record)
                self._directory.remove(self.results)
            else:
                if self.shard is not None and not self._replaces:
                    self._refuse(self.lines())
                self._clear(documents)
                self.save_record(record)

    def resume(self, record: RunRecord, images: Collection[str] | None = None) -> list[Done]:
        """Continue the run in the folder, or begin one.

        Args:
            record: the content of run.json for the present run.
            images: the names of the images that this shard computes; None for all.

        Returns:
            the complete results: all of their files exist, and their image has not changed.

        Raises:
            UsageError: the folder holds the results of another run, or of one that was cut into
                other shards.
        """
        if RUN not in self._directory.entries():
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
                f"{self.out}: holds {foreign[0]} of a run that was not cut into shards like "
                f"{self.results}; resume it as it was run, or all of it without --shard"
            )
        with self.exclusive():
            recorded = (each for each in self.record().images if isinstance(each, ImageRecord))
            known = {image.name: image for image in recorded}
            unchanged = {
                image.name
                for image in record.images
                if image.name in known and is_same_file(known[image.name], image)
            }
            # Another shard has yet to notice which of its images have changed.
            seen = [
                image if images is None or image.name in images else known.get(image.name, image)
                for image in record.images
            ]
            self.save_record(record.model_copy(update={"images": seen}))
        return [
            line
            for line in self.lines()
            if isinstance(line, Done)
            and line.image in unchanged
            and all(map(self._has_whole, line.files.values()))
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
        if self.shard is None or RUN not in self._directory.entries():
            return False
        same = not list(changes_between(self.record(), record)) and not self._foreign()
        if not same and self._lock is not None and self._lock.has_others(self.shard):
            raise UsageError(
                f"{self.out}: other shards are at work on something else; give all shards the same "
                "command, or choose another -o"
            )
        return same

    def _has_whole(self, name: str) -> bool:
        return is_whole(self.path / name)

    def _foreign(self) -> list[str]:
        """The files of results of a run that was not cut as this one is."""
        if self.shard is None:
            return []
        ours = f"-of-{self.shard.count}.jsonl"
        return [name for name in self.results_files() if not name.endswith(ours)]

    def _drop(self, record: AnyRecord) -> None:
        """Remove the files of this shard's results."""
        images, files = {*own_images(record)}, own_files(record)
        lines = [line for line in self.own() if not isinstance(line, Failed)]
        is_own = own_folders(record, [line.seed for line in lines])
        for line in lines:
            for folder in {place.rpartition("/")[0] for place in line.files.values()}:
                image, _, seed = folder.rpartition("/")
                if image == line.image and image in images and is_own(seed):
                    self._directory.clear(folder, files)

    def _clear(self, documents: Iterable[str]) -> None:
        """Remove what the run.json that is here says its run writes, finished or not."""
        try:
            record = self.record()
        except UsageError:
            pass  # a record that is not there or is damaged names nothing
        else:
            files, is_own = own_files(record), own_folders(record, self._seeds())
            for image in own_images(record):
                for folder in filter(is_own, self._directory.entries(image)):
                    self._directory.clear(f"{image}/{folder}", files)
        for name in (*self.results_files(), RUN, ENVIRONMENT, *documents):
            self._directory.remove(name)

    def _seeds(self) -> list[str]:
        """The seeds of the results that are here, as far as they can be read."""
        with suppress(UsageError):
            return [line.seed for line in self.lines() if line.seed is not None]
        return []
