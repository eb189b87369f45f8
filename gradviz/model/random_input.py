"""Random pixels in place of an image, of a size and a number of channels that a model takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradviz.arrays import Size
from gradviz.errors import UsageError
from gradviz.image.frame import frame_of
from gradviz.image.prepare import Prepared, prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.image.sizes import both
from gradviz.model.first_weight import channels_taken
from gradviz.model.model import Model

LIKELY_SIDES = (224, 256, 64, 512, 32)
"""The sides of random squares, tried in this order if nothing restricts the sizes."""


@dataclass(frozen=True)
class RandomInput:
    """A source of random images, each preprocessed as an image file of its size would be."""

    recipe: Preprocess
    """The preprocessing of the pixels, without its sizes: each image has its final size."""
    channels: int
    """The channels of the pixels before the recipe."""
    draws: np.random.Generator
    """The random numbers; every image takes the next ones."""

    @classmethod
    def of(cls, model: Model, recipe: Preprocess, random_seed: int = 0) -> RandomInput:
        """Make a source with as many channels as the model takes."""
        return cls(recipe, _channels(model, recipe), np.random.default_rng(random_seed))

    def draw(self, size: Size) -> Prepared:
        """Draw the next random image of a size.

        Raises:
            UsageError: it has more pixels than the recipe allows.
        """
        width, height = size
        if width * height > self.recipe.max_pixels:
            raise UsageError(
                f"random input of {width}x{height}: expected at most {self.recipe.max_pixels} "
                "pixels in all; allow more with --max-pixels"
            )
        pixels = self.draws.random((self.channels, height, width), np.float32)
        return prepare(Picture(pixels, "array"), self.recipe.unsized())


def _channels(model: Model, recipe: Preprocess) -> int:
    """Choose the number of channels before a recipe that may convert them to gray."""
    if model.input_shape is not None and model.input_shape[1] is not None:
        return model.input_shape[1]
    if recipe.channels != "rgb":
        return 1 if recipe.channels == "gray" else 3
    return channels_taken(model)


def only_size(model: Model) -> Size | None:
    """Return the one width and height that a model takes; None if they may vary.

    An exported program has one, and so has a model with a picture as another input.
    """
    if model.inputs.size is not None:
        return model.inputs.size
    *_, height, width = model.input_shape or (None, None)
    return None if width is None or height is None else (width, height)


def likely_sizes(model: Model, recipe: Preprocess) -> list[Size]:
    """List sizes of random input in the order in which to try them.

    They are the one that the model was exported for, the one that the recipe makes of a large
    square photo, or squares of `LIKELY_SIDES`.

    Args:
        model: the model.
        recipe: the preprocessing of its images.
    """
    only = only_size(model)
    fixed = recipe.pad or recipe.crop
    if only is None and fixed is not None and not isinstance(fixed, str):
        only = both(fixed)
    elif only is None and recipe.resize is not None:
        only = frame_of((1024, 1024), recipe).input
    return [(side, side) for side in LIKELY_SIDES] if only is None else [only]
