"""The result for one image and one seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image

from gradviz.arrays import Box, Floats
from gradviz.backward.methods import Method
from gradviz.backward.relevance.operation import Cause
from gradviz.commands.saliency.answered import Answered
from gradviz.errors import GradvizError, UsageError
from gradviz.heatmap.clip import CLIP, Clip, parse_clip
from gradviz.heatmap.colours import Palette, load_palette
from gradviz.heatmap.draw import draw, scale_in, strips
from gradviz.heatmap.marks import draw_marks
from gradviz.heatmap.output import with_legend
from gradviz.heatmap.views import OUTPUT, VIEW_NAMES, VIEWS, View
from gradviz.image.prepare import Prepared
from gradviz.marks import Mark
from gradviz.runs.results import Failure
from gradviz.seeds.answers import Answer
from gradviz.seeds.boxes import Detection
from gradviz.seeds.seed import Seed

MOST_MISSING = 0.01
"""The part of the score that relevance may miss by rounding without a warning."""


@dataclass(frozen=True)
class Attribution:
    """The gradient or attribution of one image under one seed."""

    image: str
    """The image's name: its path relative to the folder or glob that was given."""
    seed: str
    """The seed's spec."""
    method: Method
    array: Floats
    """The numbers, float32: [C, h, w] of the tensor that entered the model, or of the shape of the
    layer that was read."""
    output_shape: tuple[int, ...]
    """The shape of the model's output for this image, without the batch axis."""
    score: float
    """⟨v, y⟩, the number that was differentiated."""
    prepared: Prepared
    """The input of the model, as tensor and as picture, and the map back to the file's pixels."""
    answer: Answer | None = None
    """The class that `top` or `class:` took, with its label, score and share at the image itself;
    None for other seeds."""
    detection: Detection | None = None
    """The detection that `box:` or `object:` took, with its class, score and box; None for other
    seeds."""
    marks: tuple[Mark, ...] = ()
    """The places that the seed's terms ask about, in pixels of the input."""
    loss: float | None = None
    """The loss at the image itself, if the seed is one; for a sum of losses, their sum."""
    answered: Answered | None = None
    """The output of the model, and what is shown of it; None unless it was asked for."""
    layer: str | None = None
    """The layer that was read, if one was."""
    layer_reason: str | None = None
    """The reason why it was read; None if the user named it."""
    beside: Mapping[str, Floats] = field(default_factory=dict)
    """Further arrays to write, by name, float32: a layer's `activation` and `gradient`."""
    gated: int | None = None
    """The number of activations at which a rule held; None if there was no rule."""
    samples: int | None = None
    """The number of points at which the gradient was taken; None for the image itself."""
    completeness: float | None = None
    """⟨v, f(x) − f(baseline)⟩ − Σ attribution, if there is a baseline."""
    absorbed: Mapping[Cause, float] | None = None
    """The relevance that does not arrive at the input, by what absorbs it, if the method hands
    relevance back."""
    conservation: float | None = None
    """⟨v, y⟩ − Σ attribution − Σ absorbed, if the method hands relevance back."""
    notes: tuple[str, ...] = ()
    """Warnings of the method itself."""
    tiles: int | None = None
    """The number of tiles that it was put together from; None if it was computed at once."""
    within: Box | None = None
    """The box of the input outside of which the array is 0; None if it was computed at once."""
    parts: str | None = None
    """The evidence that the tiles agree with the whole: `proved` or `tried`."""

    def __repr__(self) -> str:
        """The image, the seed and the numbers in short: an array may have millions of them."""
        return (
            f"Attribution(image={self.image!r}, seed={self.seed!r}, method={self.method.name!r}, "
            f"array={list(self.array.shape)}, score={self.score:.6g})"
        )

    @cached_property
    def colour_array(self) -> Floats:
        """The array [C, h, w] with its channels in the picture's order, as views draw it.

        The array of a layer is drawn enlarged to the input. An array without spatial extent has one
        place, but for that of an input of fewer axes, which is a row or a map.
        """
        if (*[1] * (3 - self.array.ndim), *self.array.shape) == self.prepared.shape:
            array = self.array.reshape(self.prepared.shape)
            return array[::-1] if self.prepared.bgr else array
        return self.array if self.array.ndim == 3 else self.array.reshape(-1, 1, 1)

    @cached_property
    def stats(self) -> dict[str, float]:
        """Statistics of the array, by name.

        `min`, `max`, `abs_mean`, `l2` and `zero_fraction` describe the finite values; `nonfinite`
        is the number of the others; `scale` is the heatmap's.
        """
        low, high, total, squares, zeros, count = math.inf, -math.inf, 0.0, 0.0, 0, 0
        values = self.array.reshape(-1)
        for part in strips(values.size, 1):
            finite = values[part].astype(np.float64)
            known = np.isfinite(finite)
            if not known.all():
                finite = finite[known]
            low = float(finite.min(initial=low))
            high = float(finite.max(initial=high))
            total += float(np.abs(finite).sum())
            squares += float(np.square(finite).sum())  # BLAS would start threads of its own
            zeros += int((finite == 0).sum())
            count += finite.size
        some = count or math.nan  # without values, every number is NaN
        return {
            "min": low if count else math.nan,
            "max": high if count else math.nan,
            "abs_mean": total / some,
            "l2": math.sqrt(squares) if count else math.nan,
            "zero_fraction": zeros / some,
            "nonfinite": values.size - count,
            "scale": self.scale(),
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings for a reader of the pictures."""
        found = [*self.prepared.notes, *self.notes]
        if broken := self.stats["nonfinite"]:
            found.append(
                f"{broken} of {self.array.size} values of the {self.method.writes} are NaN or Inf; "
                "they are painted green and left out of the statistics"
            )
        if self.conservation is not None and abs(self.conservation) > MOST_MISSING * abs(
            self.score
        ):
            found.append(
                f"relevance and what was absorbed miss the score by {self.conservation:.3g}: "
                "large relevances of both signs cancel; use --precision float64"
            )
        if not math.isfinite(self.score):
            found.append("the score is NaN or Inf: so is the output where it is seeded")
        if not self.array.any():
            found.append(
                f"the {self.method.writes} is zero everywhere: {self.method.blank}; the picture is "
                "blank"
            )
        return tuple(found)

    def scale(self, view: str = "heatmap", clip: Clip = CLIP) -> float:
        """Compute the clip of what a view draws, over its values that are not zero.

        Args:
            view: a name of `gradviz.heatmap.views.VIEWS`.
            clip: the percentile, in (0, 100]; or `energy:P`, which weighs values by their squares.

        Raises:
            UsageError: no view has that name, or the clip is neither.
        """
        return scale_in(self.colour_array, _view(view), parse_clip(clip))

    def picture(
        self, view: str = "heatmap", scale: float | None = None, palette: Palette | None = None
    ) -> Image.Image:
        """Draw one view at the input's resolution.

        Args:
            view: a name of `gradviz.heatmap.views.VIEW_NAMES`.
            scale: the magnitude that gets the strongest colour; None for `self.scale(view)`.
            palette: the colour maps; None for the defaults.

        Returns:
            an RGB picture of the input's size; that of the output has a legend below.

        Raises:
            UsageError: no view has that name.
        """
        if view == OUTPUT:
            return self._output_picture()
        chosen = _view(view)
        picture = draw(
            self.colour_array,
            chosen,
            self.scale(view) if scale is None else scale,
            palette or load_palette(),
            self.prepared.shown,
        )
        if chosen.marked:
            draw_marks(picture, self.marks)
        return picture

    def _output_picture(self) -> Image.Image:
        if self.answered is None:
            raise UsageError("the output was not kept; give saliency output=True")
        shown = self.prepared.shown
        picture = self.answered.picture(shown, self.prepared.frame.input)
        return with_legend(picture, self.answered.legend)


def _view(name: str) -> View:
    if name not in VIEWS:
        raise UsageError(f"no view is called {name!r}; use one of {', '.join(VIEW_NAMES)}")
    return VIEWS[name]


Outcome = Attribution | Failure


def failures(image: str, seeds: Sequence[Seed], error: GradvizError) -> Iterator[Failure]:
    """Yield the failure of an image under every seed, or under the default one.

    Args:
        image: the name of the image.
        seeds: the seeds; empty for the default of the model's output.
        error: the reason.
    """
    specs: Sequence[str | None] = [seed.spec for seed in seeds] or [None]
    yield from (Failure(image, spec, error) for spec in specs)
