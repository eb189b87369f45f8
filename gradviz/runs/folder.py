"""The folder of a run: JSON documents, results, arrays and pictures, read and written.

Every file is written beside its place under a temporary name and moved there when it is complete.
So a reader of the folder, also after a crash, sees complete files only.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from gradviz.arrays import Array, Floats
from gradviz.errors import UsageError
from gradviz.files import disk, write_whole
from gradviz.runs.results import read_lines
from gradviz.runs.schema import AnyRecord, JsonObject, ResultLine, damage, parse_record
from gradviz.runs.shards import Shard

RUN = "run.json"
RESULTS = "results.jsonl"
FIELDS = "field.json"
COMPARED = "compare.json"
BOXES = "boxes.npy"

IN_MEMORY = 1 << 28
"""The bytes of an array above which it is put together in a file."""
CHUNK = 1 << 24
"""The bytes that are written to that file at a time."""


class RunFolder:
    """The folder of one run, or of the part of it that a shard writes."""

    def __init__(self, out: Path, shard: Shard | None = None) -> None:
        self.out = out
        self.shard = shard

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
        write_whole(self.out / name, write)

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
        with disk(self.out / name):
            text = (self.out / name).read_bytes()
        try:
            return json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error

    def record(self) -> AnyRecord:
        """Read the content of run.json.

        Raises:
            UsageError: it is not a run's record, or the disk refuses.
        """
        try:
            return parse_record(self.json(RUN))
        except ValueError as error:
            raise UsageError(
                f"{self.out / RUN}: not a run's record ({damage(error)}); run it again with "
                "--overwrite, or choose another -o"
            ) from error

    # Arrays

    def array(self, name: str, mapped: bool = False) -> Array:
        """Read an array of numbers or truth values back.

        Args:
            name: its path relative to the folder.
            mapped: True to leave it in the file, and to read only the parts that are used.

        Raises:
            UsageError: the file holds none, or the disk refuses.
        """
        path = self.out / name
        try:
            with disk(path), path.open("rb") as file:
                content: Array = (
                    npy.open_memmap(path, "r")
                    if mapped
                    else npy.read_array(file, allow_pickle=False)
                )
        except (ValueError, MemoryError) as error:
            raise UsageError(f"{path}: damaged ({error}); run it again") from error
        if content.dtype.kind not in "biuf":
            raise UsageError(f"{path}: not an array of numbers; run it again")
        return content

    def allocate(self, shape: tuple[int, ...]) -> Floats:
        """Allocate a zeroed float32 array of this shape.

        A large one lies in a nameless file of the folder, which disappears with the array.
        """
        size = 4 * math.prod(shape)
        if size < IN_MEMORY:
            return np.zeros(shape, np.float32)
        with disk(self.out), tempfile.TemporaryFile(dir=self.out) as file:
            # Filled now: if the disk is full later, writing to mapped memory kills the process.
            for start in range(0, size, CHUNK):
                file.write(bytes(min(CHUNK, size - start)))
            file.flush()
            return np.asarray(np.memmap(file, np.float32, "r+", shape=shape))

    # Results

    def append(self, line: ResultLine) -> None:
        """Add one result to results.jsonl."""
        with disk(self.out / self.results), (self.out / self.results).open("ab") as file:
            file.write((line.json_text(indent=None) + "\n").encode())

    def replace(self, lines: Iterable[ResultLine]) -> None:
        """Write the results anew; those of a whole run replace the results of its shards."""
        text = "".join(line.json_text(indent=None) + "\n" for line in lines)
        self.save(self.results, lambda file: file.write(text.encode()))
        if self.shard is None:
            for path in self.results_files():
                if path.name != RESULTS:
                    with disk(path):
                        path.unlink(missing_ok=True)

    def own(self) -> list[ResultLine]:
        """Read the results that were written here, in the order of their file."""
        path = self.out / self.results
        with disk(path):
            there = path.exists()
        return list(read_lines(path)) if there else []

    def lines(self) -> list[ResultLine]:
        """Read the results of all shards in the order of the images."""
        return sorted(
            (line for path in self.results_files() for line in read_lines(path)),
            key=lambda line: line.image,
        )

    def parts(self) -> list[RunFolder]:
        """List the run's shards, or the whole run."""
        if self.shard is None:
            return [self]
        count = self.shard.count
        return [RunFolder(self.out, Shard(index, count)) for index in range(1, count + 1)]

    def results_files(self) -> list[Path]:
        """List the files of results, one for each shard."""
        with disk(self.out):
            return sorted(self.out.glob("results*.jsonl"))
