"""A receptive-field run: what can matter, what does, and how much, for output pixels of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from gradviz.arrays import Bytes, Doubles, Floats, Mask
from gradviz.backward.layers import Layer
from gradviz.errors import ModelError, UsageError
from gradviz.field.effective import (
    Statistics,
    contribution_of,
    energy_of,
    statistics_of,
    support_of,
)
from gradviz.field.geometry import SIZES, Geometry, growing, measure
from gradviz.field.probe import Probe, Structural
from gradviz.image.prepare import Prepared, prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.model.model import Model

NOISE = "noise"
"""What stands for an image where there is none."""
MEAN = "mean"
"""What stands for all images together."""

GLOBAL_SIDE = 224
"""The side of random input along which a field is global."""


@dataclass(frozen=True)
class FieldSettings:
    """The choices of a `receptive-field` run."""

    pixels: tuple[tuple[int, int], ...] = ()
    """Output pixels (x, y); empty for the one in the middle."""
    input_size: tuple[int, int] | None = None
    """Width and height of random input; None to choose."""
    layer: str | None = None
    """The layer whose output is asked about; None for the model's."""
    layers: bool = False
    """Whether every layer's geometry is measured."""
    map: bool = False
    """Whether the box of every output pixel is measured."""
    samples: int = 8
    """Random inputs over which the effective field is averaged where there is no image."""
    log: bool = False
    """Whether the effective field is drawn in logarithmic colours."""
    random_seed: int = 0


@dataclass(frozen=True, eq=False)
class Field:
    """The three fields of one output pixel at one image."""

    image: str
    pixel: tuple[int, int]
    structural: Structural
    local: Mask
    """[H, W]: where the gradient is not zero."""
    energy: Doubles
    """[H, W]: |gradient| summed over the channels, averaged over samples or images."""
    contribution: Doubles
    """[H, W]: its positive part, likewise."""
    footprint: tuple[float, float, float, float]
    """What the output pixel itself covers of the input: x0, y0, x1, y1, pixel i is [i, i + 1)."""
    shown: Bytes
    """uint8 [H, W, 3]: the image that the model saw."""

    def statistics(self, geometry: Geometry) -> Statistics:
        """The effective field's sizes, about the middle of the unclipped structural field."""
        if geometry.x is None or geometry.y is None:
            x0, y0, x1, y1 = self.footprint
            return statistics_of(self.energy, self.contribution, ((x0 + x1) / 2, (y0 + y1) / 2))
        x, y = (
            (sum(axis.extent(i)) + 1) / 2
            for axis, i in zip((geometry.x, geometry.y), self.pixel, strict=True)
        )
        return statistics_of(self.energy, self.contribution, (x, y))


class Fields:
    """The receptive fields of one model."""

    def __init__(self, model: Model, preprocess: Preprocess, settings: FieldSettings) -> None:
        self.model = model
        self.settings = settings
        # Random input has its final size, and the range that the model knows.
        self._plain = preprocess.model_copy(update={"resize": None, "multiple": None, "crop": None})
        self._random = np.random.default_rng(settings.random_seed)

    def noise(self, width: int, height: int, random: np.random.Generator | None = None) -> Prepared:
        """Random pixels, preprocessed as an image of this size would be.

        Raises:
            UsageError: they are more than the recipe allows.
        """
        if width * height > self._plain.max_pixels:
            raise UsageError(
                f"random input of {width}x{height}: expected at most {self._plain.max_pixels} "
                "pixels in all; allow more with --max-pixels"
            )
        channels = 1 if self._plain.channels == "gray" else 3
        if self.model.input_shape is not None and self.model.input_shape[1] is not None:
            channels = self.model.input_shape[1]
        pixels = (random or self._random).random((channels, height, width), np.float32)
        return prepare(Picture(pixels, "array"), self._plain)

    def probe(self, tensor: Tensor) -> Probe:
        """A pass to ask about the output, or the layer that the settings name."""
        return Probe(self.model, tensor, self.settings.layer)

    def random_probe(self, width: int, height: int) -> Probe:
        """A pass over random input."""
        return self.probe(self.noise(width, height).tensor)

    def geometry(self, names: Sequence[str | None]) -> list[Geometry]:
        """The unclipped fields of the output (None) and of layers.

        Raises:
            ModelError: the model runs on no size that was tried.
        """
        fixed = self._fixed()
        try:
            return measure(self.random_probe, names, fixed)
        except ModelError as error:
            if fixed is not None:
                raise
            raise ModelError(
                f"{error}; or name an input size that it takes: --input-size WxH"
            ) from None

    def layers(self) -> list[Layer]:
        """The layers of the model, in the order in which they run."""
        for probe in growing(self.random_probe, 0, self._fixed()):
            return list(probe.layers.values())
        raise AssertionError("growing yields or raises")

    def _fixed(self) -> tuple[int, int] | None:
        return self.settings.input_size or self._only_size()

    def _only_size(self) -> tuple[int, int] | None:
        """What an exported program takes, where its size is fixed."""
        shape = self.model.input_shape
        if shape is None or shape[2] is None or shape[3] is None:
            return None
        return shape[3], shape[2]

    def chosen_size(self, geometry: Geometry) -> tuple[int, int]:
        """Width and height of random input on which a field in the middle is free of the border."""
        if fixed := self._fixed():
            return fixed
        width, height = (
            GLOBAL_SIDE
            if axis is None
            else next((size for size in SIZES if size > axis.size + 2 * axis.shift), SIZES[-1])
            for axis in (geometry.x, geometry.y)
        )
        squares = [(size, size) for size in SIZES if size >= max(width, height)]
        smaller = [(size, size) for size in SIZES if size < max(width, height)]
        for size in ((width, height), *squares, *smaller):
            with suppress(ModelError):
                self.random_probe(*size)
                return size
        return width, height  # and let it say what is wrong

    def at_image(self, name: str, prepared: Prepared) -> Iterator[Field]:
        """The fields of the output pixels at one image."""
        probe = self.probe(prepared.tensor)
        for pixel in self._pixels(probe):
            yield self._field(name, pixel, probe, prepared, [probe.gradient(*pixel)])

    def at_noise(self, size: tuple[int, int]) -> Iterator[Field]:
        """The fields at random input; the effective ones averaged over the samples."""
        # A generator of their own: the search for a size must not change the samples.
        random = np.random.default_rng(self.settings.random_seed)
        samples = [self.noise(*size, random) for _ in range(self.settings.samples)]
        probe = self.probe(samples[0].tensor)
        pixels = self._pixels(probe)
        gradients = {pixel: [probe.gradient(*pixel)] for pixel in pixels}
        for sample in samples[1:]:
            other = self.probe(sample.tensor)
            for pixel in pixels:
                gradients[pixel].append(other.gradient(*pixel))
        for pixel in pixels:
            yield self._field(NOISE, pixel, probe, samples[0], gradients[pixel])

    def _pixels(self, probe: Probe) -> Sequence[tuple[int, int]]:
        width, height = probe.size
        return self.settings.pixels or [(width // 2, height // 2)]

    def _field(
        self,
        name: str,
        pixel: tuple[int, int],
        probe: Probe,
        prepared: Prepared,
        gradients: Sequence[Floats],
    ) -> Field:
        (width, height), (columns, rows) = prepared.frame.input, probe.size
        x, y = pixel
        return Field(
            image=name,
            pixel=pixel,
            structural=probe.structural(x, y),
            local=support_of(gradients[0]),
            energy=np.mean([energy_of(gradient) for gradient in gradients], axis=0),
            contribution=np.mean([contribution_of(gradient) for gradient in gradients], axis=0),
            footprint=(
                x * width / columns,
                y * height / rows,
                (x + 1) * width / columns,
                (y + 1) * height / rows,
            ),
            shown=prepared.shown,
        )


@dataclass(frozen=True, eq=False)
class Mean:
    """One output pixel's field over several images: the effective one averaged, the local ones
    united. Images of another size than the first are left out."""

    first: Field
    count: int
    local: Mask
    energy: Doubles
    contribution: Doubles
    """Sums over the images."""

    @classmethod
    def of(cls, field: Field, before: Mean | None) -> Mean:
        """The mean with one image more."""
        if before is None:
            return cls(field, 1, field.local, field.energy, field.contribution)
        if field.energy.shape != before.energy.shape:
            return before
        return cls(
            before.first,
            before.count + 1,
            before.local | field.local,
            before.energy + field.energy,
            before.contribution + field.contribution,
        )

    def field(self) -> Field:
        """The mean as a field, over the first image."""
        return replace(
            self.first,
            image=MEAN,
            local=self.local,
            energy=self.energy / self.count,
            contribution=self.contribution / self.count,
        )


def as_dict(field: Field, geometry: Geometry) -> dict[str, Any]:
    """One object of field.json's `fields`, all but its `files`."""
    structural, box = field.structural, field.structural.box
    area = int(structural.mask.sum())
    size = None if box is None else [box[2] - box[0] + 1, box[3] - box[1] + 1]
    return {
        "image": field.image,
        "pixel": list(field.pixel),
        "status": structural.status,
        "lost_at": list(structural.lost_at),
        "box": None if box is None else list(box),
        "size": size,
        "clipped": _clipped(field, geometry),
        "area": area,
        "fill": None if size is None else area / (size[0] * size[1]),
        "global": geometry.through is not None,
        "global_through": geometry.through,
        "local": {"area": int(field.local.sum())},
        "effective": field.statistics(geometry).as_dict(),
    }


def _clipped(field: Field, geometry: Geometry) -> list[bool] | None:
    """Whether the field goes on beyond each side of the input: left, top, right, bottom."""
    if field.structural.box is None:
        return None
    if geometry.x is None or geometry.y is None:
        return [bool(line.any()) for line in _borders(field.structural.mask)]
    height, width = field.structural.mask.shape
    (left, right), (top, bottom) = (
        axis.extent(i) for axis, i in zip((geometry.x, geometry.y), field.pixel, strict=True)
    )
    return [left < 0, top < 0, right >= width, bottom >= height]


def _borders(mask: Mask) -> Sequence[Mask]:
    return mask[:, 0], mask[0], mask[:, -1], mask[-1]
