"""The choices of a `saliency` run, and the properties that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradviz.backward.integrated_gradients import parse_baseline
from gradviz.backward.methods import METHODS, Method
from gradviz.backward.sampling import POINTS, RANDOM_SEEDS, Points, Sampling
from gradviz.errors import UsageError
from gradviz.heatmap.clip import CLIP, Clip, parse_clip
from gradviz.heatmap.views import OUTPUT
from gradviz.seeds.suppression import Suppression
from gradviz.stored_arrays import WRITERS

if TYPE_CHECKING:
    from gradviz.backward.rules import BackwardRule

Scale = Literal["image", "shared"] | float
TileOption = Literal["auto", "off"] | int

MANY_PASSES = 8
"""The number of passes of one image from which on a faster form of the model pays."""

SAMPLING = tuple(each.name for each in fields(Sampling))
"""The settings that choose the points, for the methods that take several."""


@dataclass(frozen=True)
class Settings:
    """The choices of a `saliency` run, as its run.json records them.

    Raises:
        UsageError: they contradict each other.
    """

    seeds: tuple[str, ...] = ()
    """The specs of the seeds; empty for the default of the model's output."""
    method: str = "gradient"
    views: tuple[str, ...] = ("heatmap", "overlay")
    array: Literal["npy", "float16", "all", "none"] = "npy"
    """The arrays that are kept, and their form; `all`: the output of the model as well."""
    colormap: str | None = None
    """A name of the cmap catalogue; None for the defaults."""
    clip: Clip = CLIP
    """The clip: a percentile in (0, 100], or `energy:P`; it gets the strongest colour."""
    scale: Scale = "image"
    """`image`: each picture its own; `shared`: one for all images of a seed; or the number."""
    frame: Literal["input", "image"] = "input"
    """The pixels in which pictures are drawn: the input tensor's or the image file's."""
    inside: str | None = None
    """The mask, or the folder of masks, whose share of the map's energy is measured."""
    batch_size: int = 8
    """The number of images, or samples of one image, per pass."""
    tile: TileOption = "auto"
    """The side of tiles in input pixels, without halo; `auto`: tiles if they pay; `off`: no
    tiles."""
    optimize: bool = True
    """True if many images may run on a faster form of the model."""
    layer: str | None = None
    """The layer whose activation and gradient are read; None for the input."""
    samples: int | None = None
    """The points of the method; None, here and below, for the default or if the method takes
    none."""
    noise: float | None = None
    """The standard deviation of noise as a fraction of the input's range."""
    baseline: str | None = None
    """A name of `gradviz.backward.integrated_gradients.BASELINES`, or a file."""
    random_seed: int | None = None
    """The seed of the noise."""
    wrt: str | None = None
    """The other input with respect to which the gradient is taken; None for the image."""
    mean_of_images: Literal[True] | None = None
    """True if the mean over all images is written; else None, as in runs of earlier versions."""
    boxes: Suppression | None = None
    """The rule by which detections are chosen; None for seeds that are about none."""

    def __post_init__(self) -> None:
        self._check_points()
        self._check_tile()
        parse_clip(self.clip)
        if isinstance(self.scale, float) and not 0 < self.scale < float("inf"):
            raise UsageError(f"--scale {self.scale:g}: give image, shared or a number above 0")
        if self.mean_of_images and self.array == "none":
            raise UsageError("--mean-of-images averages the arrays; leave out --array none")
        if self.scale == "shared" and self.array == "none":
            raise UsageError("--scale shared draws from the arrays; leave out --array none")

    @property
    def gradient_views(self) -> tuple[str, ...]:
        """The views that are drawn from the gradient."""
        return tuple(view for view in self.views if view != OUTPUT)

    @property
    def keeps_output(self) -> bool:
        """True if the output of the model is shown or kept."""
        return self.array == "all" or OUTPUT in self.views

    @property
    def chosen_method(self) -> Method:
        """The method's row of the table of methods."""
        return METHODS[self.method]

    @property
    def points(self) -> Points:
        """The method's row of the table of points."""
        return POINTS[self.chosen_method.points]

    @cached_property
    def sampling(self) -> Sampling:
        """The numbers that choose the points, for a method that takes several.

        Raises:
            UsageError: the baseline's file cannot be read.
        """
        chosen = {name: getattr(self, name) for name in SAMPLING}
        given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        if self.baseline is not None:
            given["baseline"] = parse_baseline(self.baseline)
        return replace(Sampling(self.points.samples), **given)

    @property
    def images_at_once(self) -> int:
        """The number of images that share a forward pass.

        A method that takes several points fills the pass with those of one image, so that each
        image is done, and written, as a whole. What absorbs relevance is measured for a pass, so
        that each image has one of its own.
        """
        return self.batch_size if self.points.sampler is None and not self.reads_operands else 1

    @property
    def baseline_file(self) -> Path | None:
        """The file of the baseline; None if it has a name, or there is none."""
        return self.sampling.baseline.file

    @property
    def reads_input(self) -> bool:
        """True if every pass is read at the input, and none at a layer."""
        return all(each.read_at == "input" for each in self.chosen_method.passes_at(self.layer))

    @property
    def rules(self) -> list[BackwardRule]:
        """The rules of the method's passes."""
        from gradviz.backward.rules import BACKWARD_RULES

        return [BACKWARD_RULES[each.rule] for each in self.chosen_method.passes]

    @property
    def plain(self) -> bool:
        """True if every pass is that of calculus."""
        return all(each.rule == "plain" for each in self.chosen_method.passes)

    @property
    def linear(self) -> bool:
        """True if the result is linear in the seed."""
        return all(rule.linear for rule in self.rules)

    @property
    def reads_operands(self) -> bool:
        """True if a rule reads what operations computed."""
        return any(rule.reads_operands for rule in self.rules)

    @property
    def tileable(self) -> bool:
        """True if the result of an image is the sum of those of its parts, or read from one."""
        read_there = self.reads_input and self.wrt is None
        return self.chosen_method.points == "image" and read_there

    @property
    def tiling(self) -> Literal["auto", "always", "never"]:
        """The use of tiles; `auto`: if they pay."""
        return "always" if isinstance(self.tile, int) else "never" if self.tile == "off" else "auto"

    @property
    def tile_size(self) -> int | None:
        """The side of a tile in input pixels, without halo, if it was given."""
        return self.tile if isinstance(self.tile, int) else None

    @property
    def arrays(self) -> list[str]:
        """The names of the arrays that each result has."""
        beside = [] if self.layer is None else ["activation"]
        if beside and not self.reads_operands:  # relevance is no gradient
            beside.append("gradient")
        output = [OUTPUT] if self.array == "all" else []
        return list(dict.fromkeys([self.chosen_method.writes, *beside, *output]))

    @property
    def keeps_arrays(self) -> bool:
        """True if results have files of arrays."""
        return self.array != "none"

    def array_file(self, name: str) -> str:
        """Return the name of the file of an array."""
        suffix, _ = WRITERS[self.array]
        return f"{name}{suffix}"

    def speeds_up(self, images: int) -> bool:
        """Return True if a faster form of the model suits the method, and pays for so many images.

        Rules and layers need the model as it is, another input than the image makes it
        another function for each image, and making the faster form costs as much as a few passes.
        """
        passes = images * (self.sampling.samples or MANY_PASSES)
        plain = self.plain and self.reads_input and self.wrt is None
        return self.optimize and passes >= MANY_PASSES and plain

    def _check_tile(self) -> None:
        if self.tile in ("auto", "off"):
            return
        if not isinstance(self.tile, int) or self.tile < 1:
            raise UsageError(f"--tile {self.tile}: give auto, off or a number of pixels above 0")
        if not self.tileable:
            raise UsageError(
                f"--tile {self.tile}: only what is read at the image itself is put together from "
                "tiles; leave out --tile, or use --method gradient without --layer and --wrt"
            )
        if not self.linear:
            raise UsageError(
                f"--tile {self.tile}: what {self.method} finds in tiles does not add up, for it is "
                "not linear in the seed; leave out --tile, or use --method gradient"
            )

    def _check_points(self) -> None:
        points = self.points
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
