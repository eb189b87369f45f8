"""Writing a table as a CSV file, as RFC 4180 describes it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from gradviz.errors import UsageError
from gradviz.files import write_whole
from gradviz.runs.reader import read_run
from gradviz.table.columns import Cell, Row, columns_of, rows_of
from gradviz.text import short_names


def check_table(path: Path, replaces: bool) -> None:
    """Check early that a table can be written.

    Args:
        path: the file.
        replaces: True if a file that is there may be replaced.

    Raises:
        UsageError: it is not called `.csv`, or is there already.
    """
    if path.suffix.lower() != ".csv":
        raise UsageError(f"--csv {path}: expected a file that ends in .csv")
    if path.is_dir():
        raise UsageError(f"--csv {path}: is a folder; name a file in it")
    if path.exists() and not replaces:
        raise UsageError(
            f"--csv {path}: is there already; give --overwrite to replace it, or name another file"
        )


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write rows below a head with the names of the columns.

    Numbers are written so that reading them gives the same numbers. NaN and Inf, which are null in
    the documents, are empty cells, and so is None.

    Args:
        path: the file.
        columns: the columns in order.
        rows: the rows; a cell that is not there is empty.

    Raises:
        UsageError: the disk refuses.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow({column: cell for column, cell in row.items() if not _is_broken(cell)})
    # A file name may hold bytes that are not text.
    content = text.getvalue().encode("utf-8", "backslashreplace")
    write_whole(path, lambda file: file.write(content))


def write_run(path: Path, folder: Path) -> None:
    """Write the table of the finished run in a folder.

    Args:
        path: the file.
        folder: the folder of the run, whose last part is the name of the run in the table.

    Raises:
        UsageError: the disk refuses.
    """
    run = read_run(folder)
    write_table(path, columns_of(run), rows_of(run, short_names([run.name])[0]))


def _is_broken(cell: Cell) -> bool:
    return isinstance(cell, float) and not math.isfinite(cell)
