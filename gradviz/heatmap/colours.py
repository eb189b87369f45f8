"""Colour maps, by the names of the `cmap` catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradviz.arrays import Bytes, Numbers
from gradviz.errors import UsageError
from gradviz.text import nearest

if TYPE_CHECKING:
    from cmap import Colormap

SEQUENTIAL = "inferno"
DIVERGING = "colorbrewer:RdBu_r"

NONFINITE = (0, 255, 0)
"""The colour of NaN and Inf: a green that no default map contains."""

GRAY = 128
"""The level of the even picture that a mean over images is drawn over: it belongs to none."""


@dataclass(frozen=True)
class Palette:
    """The two colour maps that views draw with, as tables of 255 colours [255, 3]."""

    sequential_table: Bytes
    diverging_table: Bytes

    def sequential(self, t: Numbers) -> Bytes:
        """Return the colours [..., 3] of values in [0, 1]."""
        return self.sequential_table[_index(t)]

    def diverging(self, t: Numbers) -> Bytes:
        """Return the colours [..., 3] of values in [-1, 1]; zero is neutral."""
        return self.diverging_table[_index((t + 1) / 2)]


@cache  # several steps of one command need it
def load_palette(name: str | None = None) -> Palette:
    """Build the palette in which `name` replaces the default map of its own kind.

    Args:
        name: a name of the `cmap` catalogue; None for both default maps.

    Returns:
        the palette. A diverging map replaces the diverging default, any other the sequential one.

    Raises:
        UsageError: no colour map has that name.
    """
    sequential, diverging = SEQUENTIAL, DIVERGING
    if name is not None:
        if _colormap(name).category == "diverging":
            diverging = name
        else:
            sequential = name
    return Palette(_table(sequential), _table(diverging))


def _table(name: str) -> Bytes:
    # An odd number of colours gives zero one of its own, exactly in the middle.
    colours = np.asarray(_colormap(name)(np.linspace(0, 1, 255)))
    return np.round(255 * colours[:, :3]).astype(np.uint8)


def _index(t: Numbers) -> NDArray[np.intp]:
    return np.round(254 * t).astype(np.intp)


def _colormap(name: str) -> Colormap:
    from cmap import Catalog, Colormap

    catalogue = Catalog()
    base = name.removesuffix("_r")
    try:
        # The full name, since cmap logs a warning about names that several packages share.
        return Colormap(catalogue.resolve(base) + name[len(base) :])
    except KeyError:
        hint = nearest(name, catalogue.short_keys(), "try inferno, viridis, magma or vik")
        raise UsageError(f"--colormap {name}: no colour map has that name; {hint}") from None
