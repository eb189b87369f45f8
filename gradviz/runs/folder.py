"""The folder of a run: JSON documents, results, arrays and pictures, read and written.

Every file is written beside its place under a temporary name and moved there when it is complete.
So a reader of the folder, also after a crash, sees complete files only.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gradviz.arrays import Array, Floats
from gradviz.errors import UsageError
from gradviz.files import disk, open_regular
from gradviz.runs.conversion import read_document
from gradviz.runs.directory import Directory
from gradviz.runs.durable import SafeLines
from gradviz.runs.environment import join_record, split_record
from gradviz.runs.names import ENVIRONMENT, RESULTS, RUN, is_results
from gradviz.runs.results import read_lines
from gradviz.runs.schema import (
    AnyRecord,
    CompareRecord,
    Environment,
    JsonObject,
    ResultLine,
    RunRecord,
    damage,
    record_type,
)
from gradviz.runs.shards import Shard
from gradviz.stored_arrays import read_stored

IN_MEMORY = 1 << 28
"""The bytes of an array above which it is put together in a file."""
CHUNK = 1 << 24
"""The bytes that are written to that file at a time."""


class RunFolder:
    """The folder of one run, or of the part of it that a shard writes."""

    def __init__(self, out: Path, shard: Shard | None = None) -> None:
        self.out = out
        """The folder, as it was named."""
        self.shard = shard
        self._directory = Directory(out)

    @property
    def path(self) -> Path:
        """The real path of the folder, whatever the working folder becomes."""
        return self._directory.real

    @property
    def results(self) -> str:
        """The name of the file that takes the results."""
        return RESULTS if self.shard is None else f"results.{self.shard.name}.jsonl"

    # Any file

    def save(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Write one file, whole or not at all.

        Args:
            name: its path relative to the folder.
            write: the function that writes the content to an open file.
        """
        self._directory.write(name, write)

    def save_document(self, name: str, document: JsonObject) -> None:
        """Write a JSON document."""
        text = document.json_text() + "\n"
        self.save(name, lambda file: file.write(text.encode()))

    def json(self, name: str) -> Any:
        """Read the content of a JSON file.

        Raises:
            ValueError: it is not JSON.
            UsageError: the disk refuses.
        """
        with disk(self.out / name), open_regular(self.path / name) as file:
            text = file.read()
        try:
            return json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error

    def record(self) -> AnyRecord:
        """Read the contents of run.json and environment.json.

        Raises:
            UsageError: they are not a run's record, a schema is missing or newer, or the disk
                refuses.
        """
        try:
            content = self.json(RUN)
            record = read_document(record_type(content), content, self.out / RUN)
        except ValueError as error:
            raise UsageError(
                f"{self.out / RUN}: not a run's record ({damage(error)}); run it again with "
                "--overwrite, or choose another -o"
            ) from error
        if isinstance(record, CompareRecord):
            return record
        return join_record(record, self._environment())

    def _environment(self) -> Environment | None:
        if not self.has(ENVIRONMENT):
            return None
        try:
            return read_document(Environment, self.json(ENVIRONMENT), self.out / ENVIRONMENT)
        except ValueError as error:
            raise UsageError(
                f"{self.out / ENVIRONMENT}: damaged ({damage(error)}); remove it, or run it again"
            ) from error

    def save_record(self, record: AnyRecord) -> None:
        """Write run.json, and environment.json for what may differ in a repetition."""
        if isinstance(record, RunRecord):
            record, environment = split_record(record)
            self.save_document(ENVIRONMENT, environment)
        self.save_document(RUN, record)

    # Arrays

    def array(self, name: str, mapped: bool = False) -> Array:
        """Read an array of numbers or truth values back.

        Args:
            name: its path relative to the folder.
            mapped: True to leave it in the file, and to read only the parts that are used.

        Raises:
            UsageError: the file holds none, or the disk refuses.
        """
        return read_stored(self.path / name, self.out / name, mapped)

    def allocate(self, shape: tuple[int, ...]) -> Floats:
        """Allocate a zeroed float32 array of this shape.

        A large one lies in a nameless file of the folder, which disappears with the array.
        """
        size = 4 * math.prod(shape)
        if size < IN_MEMORY:
            return np.zeros(shape, np.float32)
        with disk(self.out), tempfile.TemporaryFile(dir=self.path) as file:
            # Filled now, since a disk that is full later kills whoever writes to mapped memory.
            for start in range(0, size, CHUNK):
                file.write(bytes(min(CHUNK, size - start)))
            file.flush()
            return np.asarray(np.memmap(file, np.float32, "r+", shape=shape))

    # Results

    def append(self, line: ResultLine) -> None:
        """Add one result to results.jsonl."""
        self._directory.append(self.results, _row(line))

    @contextmanager
    def appending(self) -> Iterator[Callable[[ResultLine], None]]:
        """Add results one by one, each once its files are safe; the last ones when the block ends.

        Raises:
            UsageError: the disk refuses.
        """
        lines = SafeLines(self._directory.sync, partial(self._directory.append, self.results))
        try:
            yield lambda line: lines.add(_row(line))
        finally:
            lines.flush()

    def replace(self, lines: Iterable[ResultLine]) -> None:
        """Write the results anew; those of a whole run take the place of its shards'."""
        rows = [_row(line) for line in lines]
        self.save(self.results, lambda file: file.writelines(rows))
        if self.shard is None:
            for name in self.results_files():
                if name != RESULTS:
                    self._directory.remove(name)

    def own(self) -> list[ResultLine]:
        """The results that were written here, as they stand in their file."""
        return list(self._read(self.results)) if self.results in self.results_files() else []

    def lines(self) -> list[ResultLine]:
        """Read the results of all shards in the order of the images."""
        return sorted(
            (line for name in self.results_files() for line in self._read(name)),
            key=lambda line: line.image,
        )

    def parts(self) -> list[RunFolder]:
        """List the run's shards, or the whole run."""
        if self.shard is None:
            return [self]
        count = self.shard.count
        return [RunFolder(self.out, Shard(index, count)) for index in range(1, count + 1)]

    def _read(self, name: str) -> Iterator[ResultLine]:
        return read_lines(self.path / name, self.out / name)

    def has(self, name: str) -> bool:
        """Return True if a file of this name is in the folder."""
        with disk(self.out / name):
            return (self.path / name).is_file()

    def results_files(self) -> list[str]:
        """The names of the files of results, one for each shard."""
        return [name for name in self._directory.entries() if is_results(name)]


def _row(line: ResultLine) -> bytes:
    return (line.json_text(indent=None) + "\n").encode()
