"""How the pictures and arrays of a run are to be made, apart from the model and the images."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from gradviz.backward.methods import METHODS
from gradviz.backward.sampling import POINTS, RANDOM_SEEDS, Sampling
from gradviz.errors import UsageError
from gradviz.heatmap.views import CLIP

Scale = Literal["image", "shared"] | float
Tile = Literal["auto", "off"] | int

SAMPLING = tuple(each.name for each in fields(Sampling))
"""The settings that choose the points, for the methods that take several."""


@dataclass(frozen=True)
class Settings:
    """The choices of a `saliency` run, as its run.json records them.

    Raises:
        UsageError: they contradict each other.
    """

    seeds: tuple[str, ...] = ()
    """Specs; empty for the default of the model's output."""
    method: str = "gradient"
    views: tuple[str, ...] = ("heatmap", "overlay")
    array: Literal["npy", "none"] = "npy"
    colormap: str | None = None
    """A name of the cmap catalogue; None for the defaults."""
    clip: float = CLIP
    """The percentile that gets the strongest colour, in (0, 100]."""
    scale: Scale = "image"
    """`image`: each picture its own; `shared`: one for all images of a seed; or the number."""
    frame: Literal["input", "image"] = "input"
    """Whose pixels pictures are drawn in: the input tensor's or the image file's."""
    inside: str | None = None
    """The mask, or the folder of masks, whose share of the map's energy is measured."""
    batch_size: int = 8
    """Images, or samples of one image, per pass."""
    tile: Tile = "auto"
    """How images are computed in parts: tiles of this many input pixels a side, halo apart; `auto`:
    where it pays; `off`: never."""
    optimize: bool = True
    """Whether many images may run on a faster form of the model."""
    layer: str | None = None
    """The layer whose activation and gradient are read; None for the input."""
    samples: int | None = None
    """Points of the method; None, here and below, for the default or where it takes none."""
    noise: float | None = None
    """The standard deviation of noise as a fraction of the input's range."""
    baseline: str | None = None
    """A name of `gradviz.backward.integrated_gradients.BASELINES`, or a file."""
    random_seed: int | None = None
    """Of the noise."""

    def __post_init__(self) -> None:
        self._check_points()
        self._check_tile()
        if not 0 < self.clip <= 100:
            raise UsageError(f"--clip {self.clip:g}: a percentile is above 0 and at most 100")
        if isinstance(self.scale, float) and not 0 < self.scale < float("inf"):
            raise UsageError(f"--scale {self.scale:g}: give image, shared or a number above 0")
        if self.scale == "shared" and self.array == "none":
            raise UsageError("--scale shared draws from the arrays; leave out --array none")

    def _check_tile(self) -> None:
        if self.tile in ("auto", "off"):
            return
        if not isinstance(self.tile, int) or self.tile < 1:
            raise UsageError(f"--tile {self.tile}: give auto, off or a number of pixels above 0")
        method = METHODS[self.method]
        if method.points != "image" or self.layer is not None or method.needs_layer:
            raise UsageError(
                f"--tile {self.tile}: only what is read at the image itself is put together from "
                "tiles; leave out --tile, or use --method gradient without --layer"
            )
        if any(each.rule != "plain" for each in method.passes):
            raise UsageError(
                f"--tile {self.tile}: what {self.method} finds in tiles does not add up, for it is "
                "not linear in the seed; leave out --tile, or use --method gradient"
            )

    def _check_points(self) -> None:
        points = POINTS[METHODS[self.method].points]
        for name in SAMPLING:
            if getattr(self, name) is not None and name not in points.options:
                fitting = [m.name for m in METHODS.values() if name in POINTS[m.points].options]
                raise UsageError(
                    f"--{name.replace('_', '-')}: the method {self.method} takes none; it is for "
                    f"{', '.join(fitting)}"
                )
        if self.layer is not None and points.name != "image":
            raise UsageError(
                f"--layer {self.layer}: the method {self.method} moves through inputs, and is read "
                "there; leave out --layer, or use --method gradient"
            )
        if self.samples is not None and self.samples < points.least:
            raise UsageError(
                f"--samples {self.samples}: {self.method} needs at least {points.least}"
            )
        if self.random_seed is not None and self.random_seed not in RANDOM_SEEDS:
            raise UsageError(f"--random-seed {self.random_seed}: give 0 to {RANDOM_SEEDS[-1]}")
        if self.noise is not None and not 0 <= self.noise < float("inf"):
            raise UsageError(f"--noise {self.noise:g}: give a fraction of the input's range, >= 0")
