"""Views, the ways to draw a gradient: their table.

A view is three choices: which quantity is drawn, what it is divided by, and how the ratio becomes
colour. To add one, write a row of `VIEWS`. The help lists them, so nothing here imports numpy: the
functions use what arrays can do themselves.

`OUTPUT` alone is no view of a gradient: it has no quantity and no scale of the gradient's, and
`gradviz.heatmap.output` draws it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradviz.arrays import Bytes, Doubles, Floats, Numbers
    from gradviz.heatmap.colours import Palette


@dataclass(frozen=True)
class View:
    """One row of the table of views."""

    name: str
    meaning: str
    quantity: Callable[[Floats], Doubles]
    """The function from the gradient g [C, H, W] to what is drawn, [H, W] or [C, H, W]."""
    paint: Callable[[Doubles, Palette, Bytes], Bytes]
    """`(quantity / scale clipped to [-1, 1], palette, input picture [H, W, 3]) -> [H, W, 3]`."""
    signed: bool = False
    """True if the quantity can be negative."""
    symbol: str = "Σ|g|"
    """The quantity in short, for a colour bar."""
    over_input: bool = False
    """True if it is drawn over the input's picture."""
    marked: bool = False
    """True if the places that the seed asks about are drawn over it."""

    @property
    def sizes_alone(self) -> bool:
        """True if it draws Σ|g|, in which signs do not count."""
        return self.quantity is _magnitude


def _magnitude(g: Floats) -> Doubles:
    return _sum(abs(g))


def _sum(g: Floats) -> Doubles:
    # The sum of finite float32 numbers need not be one.
    total: Doubles = g.sum(axis=0, dtype="float64")
    return total


def _sequential(t: Doubles, palette: Palette, shown: Bytes) -> Bytes:
    return palette.sequential(t)


def _diverging(t: Doubles, palette: Palette, shown: Bytes) -> Bytes:
    return palette.diverging(t)


def _gray(t: Doubles, palette: Palette, shown: Bytes) -> Bytes:
    return _bytes(t[..., None].repeat(3, axis=-1))


def _rgb(t: Doubles, palette: Palette, shown: Bytes) -> Bytes:
    channels = t if len(t) == 3 else t.mean(axis=0, keepdims=True).repeat(3, axis=0)
    return _bytes(0.5 + 0.5 * channels.transpose(1, 2, 0))


def _overlay(t: Doubles, palette: Palette, shown: Bytes) -> Bytes:
    from gradviz.image.read import luma

    # The picture fades to dim gray, so that every hue in the result is the map's. The square root
    # keeps weak parts of the map visible.
    backdrop = 0.8 * luma(shown.transpose(2, 0, 1).astype("float32"))[..., None]
    weight = 0.9 * t[..., None] ** 0.5
    blend: Numbers = backdrop * (1 - weight) + palette.sequential(t) * weight
    return blend.round().astype("uint8")


def _bytes(unit: Numbers) -> Bytes:
    return (255 * unit).round().astype("uint8")


VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View("heatmap", "Σ|g| over the channels, sequential colours", _magnitude, _sequential),
        View(
            "signed",
            "Σg over the channels, diverging colours, zero neutral",
            _sum,
            _diverging,
            True,
            "Σg",
        ),
        View(
            "rgb",
            "each channel of g around mid-gray (the mean, unless there are three)",
            lambda g: g.astype("float64"),
            _rgb,
            signed=True,
            symbol="g",
        ),
        View(
            "positive",
            "where more would raise the output: max(Σg, 0)",
            lambda g: _sum(g).clip(0),
            _sequential,
            symbol="max(Σg, 0)",
        ),
        View(
            "negative",
            "where more would lower the output: max(−Σg, 0)",
            lambda g: (-_sum(g)).clip(0),
            _sequential,
            symbol="max(−Σg, 0)",
        ),
        View("gray", "as heatmap, in gray", _magnitude, _gray),
        View(
            "overlay",
            "the heatmap over the input that the model saw",
            _magnitude,
            _overlay,
            over_input=True,
        ),
        View(
            "marked",
            "the overlay, with the seed's pixel, region, box or mask",
            _magnitude,
            _overlay,
            over_input=True,
            marked=True,
        ),
    )
}
"""Every view of a gradient, by name, in the order of the documentation."""

OUTPUT = "output"
"""The view of what the model answered."""

VIEW_NAMES = (*VIEWS, OUTPUT)
"""The names of all views."""
