"""The folder of a run: run.json, results.jsonl, and the files that they name.

Every file is written beside its place under a temporary name and moved there when it is whole, so
whoever reads the folder, also after a crash, sees finished files only.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np

from gradviz.arrays import Array, Floats
from gradviz.errors import UsageError
from gradviz.files import disk
from gradviz.runs.results import Line, _read_lines, _settled, differences
from gradviz.runs.sharing import Shard, Turn, turn
from gradviz.text import strict_json

RUN = "run.json"
RESULTS = "results.jsonl"
FIELDS = "field.json"
BOXES = "boxes.npy"

IN_MEMORY = 1 << 28
"""Bytes of an array from which it is put together in a file."""
CHUNK = 1 << 24
"""Bytes that are written to it at a time."""


class Store:
    """One run's folder, or the part of it that a shard writes."""

    def __init__(self, out: Path, shard: Shard | None = None) -> None:
        self.out = out
        self.shard = shard
        self._turn: Turn | None = None
        self._replaces = True

    @property
    def results(self) -> str:
        """The name of the file that takes the results."""
        return RESULTS if self.shard is None else f"results.{self.shard.name}.jsonl"

    @contextmanager
    def held(self, *, overwrite: bool, resume: bool) -> Iterator[None]:
        """Keep others out of the folder, which is made if need be, and gone if nothing was written.

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
                    self._turn = until_done.enter_context(turn(self.out, self.shard))
                # Somebody may have come and gone in between.
                self.check(overwrite=overwrite, resume=resume)
                yield
        finally:
            with suppress(OSError):  # not empty
                for path in made:
                    path.rmdir()

    def check(self, *, overwrite: bool, resume: bool) -> None:
        """Notice an unusable folder early.

        Raises:
            UsageError: the folder cannot be written, or holds results that nobody gave up.
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

    def _refuse(self, lines: Iterable[Line]) -> None:
        """Results that nobody gave up are not to be lost."""
        if any(line["status"] == "ok" for line in lines):
            raise UsageError(
                f"{self.out}: holds the results of a run; give --overwrite to replace them, "
                "--resume to finish them, or another -o"
            )

    def begin(self, run: Mapping[str, Any], documents: Iterable[str] = ()) -> None:
        """Start a run, taking away what an earlier run wrote here, and nothing else.

        A shard joins the run of the others, if there is one.

        Args:
            run: the content of run.json.
            documents: files that belong to no single result.

        Raises:
            UsageError: the other shards run something else, or the disk refuses.
        """
        with disk(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
        with self.alone():
            if self._joins(run):
                self._drop(self.own())
                with disk(self.out):
                    (self.out / self.results).unlink(missing_ok=True)
            else:
                if self.shard is not None and not self._replaces:
                    self._refuse(self.lines())
                self._clear(documents)
                self._record(run)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While other shards of the run change nothing that is common."""
        if self._turn is None or self.shard is None:
            yield
        else:
            with self._turn.alone():
                yield

    def _joins(self, run: Mapping[str, Any]) -> bool:
        """Whether the folder holds the run of which this is a shard."""
        if self.shard is None or not (self.out / RUN).exists():
            return False
        same = not list(self._differences(run)) and not self._foreign()
        if not same and self._turn is not None and self._turn.others(self.shard):
            raise UsageError(
                f"{self.out}: other shards are at work on something else; give all shards the same "
                "command, or choose another -o"
            )
        return same

    def _foreign(self) -> list[Path]:
        """Results of a run that was not cut as this one is."""
        if self.shard is None:
            return []
        ours = f"-of-{self.shard.count}.jsonl"
        return [path for path in self._results() if not path.name.endswith(ours)]

    def _differences(self, run: Mapping[str, Any]) -> Iterator[str]:
        now = json.loads(strict_json(run))
        return differences(_settled(self.run()), _settled(now))

    def _drop(self, lines: Iterable[Line]) -> None:
        """Take away the files of results."""
        for line in lines:
            for name in line.get("files", {}).values():
                with disk(self.out / name):
                    (self.out / name).unlink(missing_ok=True)

    def _clear(self, documents: Iterable[str]) -> None:
        """Take away what the run.json that is here says its run writes, finished or not."""
        for path in self._written():
            with disk(path):
                path.unlink(missing_ok=True)
                for folder in path.parents:
                    if folder == self.out or any(folder.iterdir()):
                        break
                    folder.rmdir()
        for path in (*self._results(), *(self.out / name for name in (RUN, *documents))):
            with disk(path):
                path.unlink(missing_ok=True)

    def _written(self) -> Iterator[Path]:
        """The files in the folders of the images whose names are those that the run writes."""
        try:
            before = self.run() if (self.out / RUN).exists() else {}
            folders = [self.out / image["name"] for image in before.get("images", ())]
            names = {Path(name).name for name in before.get("writes", ())}
        except (UsageError, TypeError, KeyError, AttributeError):
            return  # a damaged record names nothing
        unfinished = {f".{name}.part" for name in names}
        for folder in folders:
            if folder.resolve().is_relative_to(self.out.resolve()):
                yield from [path for path in folder.glob("*/*") if path.name in names | unfinished]

    def resume(self, run: Mapping[str, Any]) -> list[Line]:
        """Go on with the run that is here, or begin one.

        Args:
            run: what is to be run now.

        Returns:
            the results that are whole: their files are all there, and their image is the same.

        Raises:
            UsageError: the folder holds the results of another run, or of one that was cut into
                other shards.
        """
        if not (self.out / RUN).exists():
            self.begin(run)
            return []
        if different := list(self._differences(run)):
            raise UsageError(
                f"{self.out}: holds another run ({'; '.join(different[:3])}); "
                "repeat its command to resume it, or choose another -o"
            )
        if foreign := self._foreign():
            raise UsageError(
                f"{self.out}: holds {foreign[0].name} of a run that was not cut into shards like "
                f"{self.results}; resume it as it was run, or all of it without --shard"
            )
        before, now = self.run(), json.loads(strict_json(run))
        unchanged = [image["name"] for image in now["images"] if image in before["images"]]
        with self.alone():
            self._record(run)
        return [
            line
            for line in self.lines()
            if line["status"] == "ok"
            and line["image"] in unchanged
            and all((self.out / name).is_file() for name in line["files"].values())
        ]

    def _record(self, run: Mapping[str, Any]) -> None:
        self.save(RUN, lambda file: file.write((strict_json(run, indent=2) + "\n").encode()))

    def run(self) -> dict[str, Any]:
        """The content of run.json."""
        try:
            content: dict[str, Any] = self.document(RUN)
            whole = all(isinstance(image["name"], str) for image in content["images"])
        except (ValueError, TypeError, KeyError):
            whole = False
        if not whole:
            raise UsageError(
                f"{self.out / RUN}: not a run's record; give --overwrite or choose another -o"
            )
        return content

    def document(self, name: str) -> Any:
        """The content of a JSON file.

        Raises:
            ValueError: it is none.
        """
        with disk(self.out / name):
            text = (self.out / name).read_bytes()
        try:
            return json.loads(text)
        except RecursionError as error:
            raise ValueError(f"{name} is nested too deeply") from error

    def save(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Write one file, whole or not at all.

        Args:
            name: its path relative to the folder.
            write: writes the content to the file that it is given.
        """
        place = self.out / name
        unfinished = place.with_name(f".{place.name}.part")
        with disk(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("wb") as file:
                    write(file)
                unfinished.replace(place)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise

    def room(self, shape: tuple[int, ...]) -> Floats:
        """Zeros to put a result together in: where they are many, in a file of the folder that has
        no name, and so is gone when nobody uses it any more."""
        size = 4 * math.prod(shape)
        if size < IN_MEMORY:
            return np.zeros(shape, np.float32)
        with disk(self.out), tempfile.TemporaryFile(dir=self.out) as file:
            # Filled now, since a disk that is full later kills whoever writes to mapped memory.
            for start in range(0, size, CHUNK):
                file.write(bytes(min(CHUNK, size - start)))
            file.flush()
            return np.asarray(np.memmap(file, np.float32, "r+", shape=shape))

    def array(self, name: str) -> Array:
        """Read an array of numbers or truth values back.

        Raises:
            UsageError: the file is none, or the disk refuses.
        """
        try:
            with disk(self.out / name), (self.out / name).open("rb") as file:
                content: Array = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, MemoryError) as error:
            raise UsageError(f"{self.out / name}: damaged ({error}); run it again") from error
        if content.dtype.kind not in "biuf":
            raise UsageError(f"{self.out / name}: not an array of numbers; run it again")
        return content

    def append(self, line: Line) -> None:
        """Add one result to results.jsonl."""
        with disk(self.out / self.results), (self.out / self.results).open("ab") as file:
            file.write((strict_json(line) + "\n").encode())

    def replace(self, lines: Iterable[Line]) -> None:
        """Write the results anew; those of a whole run take the place of its shards'."""
        text = "".join(strict_json(line) + "\n" for line in lines)
        self.save(self.results, lambda file: file.write(text.encode()))
        if self.shard is None:
            for path in self._results():
                if path.name != RESULTS:
                    with disk(path):
                        path.unlink(missing_ok=True)

    def own(self) -> list[Line]:
        """The results that were written here, as they stand in their file."""
        path = self.out / self.results
        with disk(path):
            there = path.exists()
        return list(_read_lines(path)) if there else []

    def parts(self) -> list[Store]:
        """The run's shards, or the whole run."""
        if self.shard is None:
            return [self]
        count = self.shard.count
        return [Store(self.out, Shard(index, count)) for index in range(1, count + 1)]

    def lines(self) -> list[Line]:
        """The results of all shards in the order of the images, each as its JSON object.

        A last line that a crash cut short is left out.
        """
        return sorted(
            (line for path in self._results() for line in _read_lines(path)),
            key=lambda line: line["image"],
        )

    def _results(self) -> list[Path]:
        with disk(self.out):
            return sorted(self.out.glob("results*.jsonl"))


def write_npy(array: Array, file: BinaryIO) -> None:
    """Write `array` in NumPy's format.

    Raises:
        OSError: there is no room for all of it.
    """
    # Into a file itself, NumPy writes by C's streams, and never asks whether the last of their
    # buffers found room. Into anything else it writes by the method `write`.
    np.save(SimpleNamespace(write=file.write), array)
