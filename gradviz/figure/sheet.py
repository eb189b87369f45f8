"""The choices of a figure: its file, its width and its columns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradviz.errors import UsageError
from gradviz.runs.names import is_result_path

FIGURE_KINDS = ("png", "pdf", "svg")
"""The suffixes of the files that can be written."""

MOST_ROWS = 24
"""The most rows of a figure without pages."""

PAGE_HEIGHT = 240.0
"""The height of a full page of a PDF, in millimetres."""

TEXT_WIDTH = 183.0
"""The width of a figure if none is given, in millimetres: the text width of a page."""

GUTTER = 4.0
"""The millimetres between two columns."""

LEAST_PICTURE = 12.0
"""The least width of a picture in millimetres: the numbers of its colour bar have room below it."""


@dataclass(frozen=True)
class Sheet:
    """The choices of a figure."""

    path: Path
    """The file that is written."""
    width: float = TEXT_WIDTH
    """The width in millimetres."""
    columns: int = 1
    """The number of results side by side."""

    @property
    def kind(self) -> str:
        """The suffix of the file, in small letters and without the dot."""
        return self.path.suffix.lower().removeprefix(".")

    @property
    def column_width(self) -> float:
        """The width of a column in millimetres."""
        return (self.width - GUTTER * (self.columns - 1)) / self.columns

    def check(self, results: int, pictures: int, read: Sequence[Path]) -> None:
        """Check early that the figure can be drawn and written.

        Args:
            results: the number of results if none fails.
            pictures: the number of pictures that a result shows side by side.
            read: the files that the run reads, which must not be overwritten.

        Raises:
            UsageError: it is another kind of file, or one that the run reads; or there are too
                many rows or columns for it.
        """
        path = self.path
        if self.kind not in FIGURE_KINDS:
            raise UsageError(
                f"--figure {path}: expected a file that ends in {', '.join(FIGURE_KINDS)}"
            )
        if self.column_width < LEAST_PICTURE * pictures:
            raise UsageError(
                f"--figure {path}: {self.columns * pictures} pictures side by side do not fit into "
                f"{self.width:g} mm, expected at least {LEAST_PICTURE:g} mm for each; give fewer "
                "--figure-columns or more --figure-width"
            )
        rows = -(-results // self.columns)
        if self.kind != "pdf" and rows > MOST_ROWS:
            raise UsageError(
                f"--figure {path}: {rows} rows are more than the {MOST_ROWS} of a {self.kind}; "
                "name a .pdf, which has pages, or give more --figure-columns"
            )
        if path.is_dir():
            raise UsageError(f"--figure {path}: is a folder; name a file in it")
        if path.exists() and any(file.exists() and path.samefile(file) for file in read):
            raise UsageError(f"--figure {path}: is a file that the run reads; name another one")

    def check_apart(self, out: Path, images: Sequence[str]) -> None:
        """Refuse a figure that would take the place of a result.

        Args:
            out: the folder of the run.
            images: the names of the images.

        Raises:
            UsageError: a result lies there.
        """
        real, folder = Path(os.path.realpath(self.path)), Path(os.path.realpath(out))
        if real.is_relative_to(folder):
            below = real.relative_to(folder).as_posix()
            if any(is_result_path(below, image) for image in images):
                raise UsageError(
                    f"--figure {self.path}: is the place of a result; name another file"
                )
