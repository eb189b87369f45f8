"""Layouts: the order of the axes of a layer's output, where `--layout` says it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gradviz.errors import UsageError

FORMS = "nchw, nhwc or tokens:P, where P counts the tokens before those of the image"

ORDERS: dict[str, list[tuple[int, ...]]] = {
    "nchw": [(0, 1, 2, 3)],
    "nhwc": [(0, 3, 1, 2)],
    "tokens": [(0, 2, 1), (1, 2, 0)],
}
"""The axes N, C, h, w of a map, or N, C, L of tokens, in each order that they may have."""


@dataclass(frozen=True)
class Layout:
    """An order of axes."""

    kind: Literal["nchw", "nhwc", "tokens"]
    """`nchw`: a map [N, C, h, w]; `nhwc`: a map [N, h, w, C]; `tokens`: [N, L, C] or [L, N, C]."""
    leading: int = 0
    """The number of tokens before those of the image."""

    def __str__(self) -> str:
        """The text that `--layout` takes."""
        return f"tokens:{self.leading}" if self.kind == "tokens" else self.kind

    def axes(self, shape: Sequence[int], images: int) -> tuple[int, ...]:
        """Find the axes N, C, h, w of a map, or N, C, L of tokens.

        Args:
            shape: the shape of a layer's output.
            images: the number of images that entered.

        Raises:
            UsageError: the shape is not of this layout, or can be read in two ways.
        """
        fitting = [
            axes
            for axes in ORDERS[self.kind]
            if len(axes) == len(shape) and shape[axes[0]] == images
        ]
        if not fitting:
            raise UsageError(
                f"--layout {self}: {list(shape)} is no such output of {_counted(images)}"
            )
        if len(fitting) > 1:
            raise UsageError(
                f"--layout {self}: {list(shape)} fits two readings, [N, L, C] and [L, N, C], for "
                f"there are as many tokens as images, {images}: use another --batch-size"
            )
        return fitting[0]

    def grid(self, tokens: int, height: int, width: int) -> tuple[int, int]:
        """Find the rows and columns of the tokens of an image, which are cut from it as squares.

        Args:
            tokens: the number of tokens, those before the image's included.
            height: the height of the image.
            width: its width.

        Raises:
            UsageError: there is no such grid.
        """
        count = tokens - self.leading
        for rows in (rows for rows in range(1, count + 1) if count % rows == 0):
            if are_squares(rows, count // rows, height, width):
                return rows, count // rows
        raise UsageError(
            f"--layout {self}: {tokens} tokens but for {self.leading} make no grid of squares on "
            f"an image of {width}x{height} pixels"
        )


def are_squares(rows: int, columns: int, height: int, width: int) -> bool:
    """Return True if so many rows and columns of squares can be cut from an image.

    Args:
        rows: the number of rows.
        columns: the number of columns.
        height: the height of the image.
        width: its width.
    """
    if not rows or not columns:
        return False
    # A side of a square that fits so often, and not once more, into both sides.
    least = max(height / (rows + 1), width / (columns + 1))
    return least < min(height / rows, width / columns)


def parse_layout(text: str) -> Layout:
    """Parse the text of `--layout`.

    Raises:
        UsageError: it is no layout.
    """
    if text == "nchw":
        return Layout("nchw")
    if text == "nhwc":
        return Layout("nhwc")
    found = re.fullmatch(r"tokens:([0-9]{1,6})", text)
    if found is None:
        raise UsageError(f"--layout {text}: give {FORMS}, such as tokens:1")
    return Layout("tokens", int(found[1]))


def _counted(images: int) -> str:
    return f"{images} images" if images > 1 else "one image"
