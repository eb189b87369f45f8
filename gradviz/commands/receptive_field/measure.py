"""Measuring the receptive fields of output pixels: structural, local and effective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from gradviz.arrays import Bytes, Doubles, Floats, Mask, Size
from gradviz.backward.layers import Layer
from gradviz.errors import DetectionsError, ModelError, UsageError
from gradviz.field import effective
from gradviz.field.geometry import Geometry, measure_geometries
from gradviz.field.locality import Locality
from gradviz.field.probe import (
    Probe,
    ProbeFactory,
    StructuralField,
    probes_without_numbers,
    random_probes,
)
from gradviz.field.sites import BY_PROPORTION, placed
from gradviz.field.strips import SIZES, growing_probes
from gradviz.field.tiles import Tile, input_pixels
from gradviz.image.frame import Frame
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import Prepared
from gradviz.image.preprocess import Preprocess
from gradviz.model.model import Model
from gradviz.model.random_input import RandomInput, only_size
from gradviz.runs.names import NOISE
from gradviz.seeds.places import Site, at_box

GLOBAL_SIDE = 224
"""The side of random input along an axis on which the field is global."""


@dataclass(frozen=True)
class FieldSettings:
    """The choices of a `receptive-field` run."""

    pixels: tuple[tuple[int, int], ...] = ()
    """The output pixels (x, y)."""
    at: tuple[tuple[int, int], ...] = ()
    """Pixels (x, y) of the photo, over which output pixels lie. Without these and `pixels`, the
    output pixel in the middle is measured."""
    input_size: Size | None = None
    """The width and height of random input; None to choose."""
    layer: str | None = None
    """The layer whose output is measured; None for the model's."""
    layers: bool = False
    """True if every layer's geometry is measured."""
    map: bool = False
    """True if the box of every output pixel is measured."""
    samples: int = 8
    """The number of random inputs over which the effective field is averaged if there is no
    image."""
    log: bool = False
    """True if the effective field is drawn in logarithmic colours."""
    frame: Literal["input", "image"] = "input"
    """The pixels that pictures are drawn in: the input's, or the image file's."""
    random_seed: int = 0


@dataclass(frozen=True, eq=False)
class Field:
    """The three fields of one output pixel at one image."""

    image: str
    pixel: tuple[int, int]
    asked: str
    """The output pixel in the words of the command: `pixel 64,48`, or `at 640,360` of the photo."""
    structural: StructuralField
    local: Mask = field(repr=False)
    """[H, W]: where the gradient is not zero."""
    energy: Doubles = field(repr=False)
    """[H, W]: |gradient| summed over the channels, averaged over samples or images."""
    contribution: Doubles = field(repr=False)
    """[H, W]: its positive part, likewise."""
    footprint: tuple[float, float, float, float]
    """The part of the input that the output pixel itself covers: x0, y0, x1, y1 in pixels."""
    shown: Bytes = field(repr=False)
    """uint8 [H, W, 3]: the image that the model saw; the whole photo if there is a frame."""
    frame: Frame | None = field(default=None, repr=False)
    """The map to the photo's pixels, if the field is drawn there; None for the input's pixels."""
    notes: tuple[str, ...] = ()
    """The parts of the image that were left out."""

    def drawn_in(self, photo: Bytes, frame: Frame) -> Field:
        """Return the field with the photo as what its pictures are drawn over.

        Args:
            photo: uint8 [H, W, 3], the whole image file.
            frame: the map between its pixels and the input's.
        """
        frame.check_placed()
        return replace(self, shown=photo, frame=None if frame.unchanged else frame)

    def statistics(self, geometry: Geometry) -> effective.Statistics:
        """Compute the effective field's sizes, about the middle of the unclipped field."""
        if geometry.x is None or geometry.y is None:
            x0, y0, x1, y1 = self.footprint
            return effective.statistics_of(
                self.energy, self.contribution, ((x0 + x1) / 2, (y0 + y1) / 2)
            )
        x, y = (
            (sum(axis.extent(i)) + 1) / 2
            for axis, i in zip((geometry.x, geometry.y), self.pixel, strict=True)
        )
        return effective.statistics_of(self.energy, self.contribution, (x, y))


@dataclass(frozen=True)
class FieldMeter:
    """A meter of the receptive fields of one model."""

    model: Model
    recipe: Preprocess
    """The preprocessing of images, and of random pixels in their place."""
    settings: FieldSettings
    on_step: Callable[[str], object] = lambda step: None
    """Receives what is measured now, in words."""

    @cached_property
    def probe_at(self) -> ProbeFactory:
        """The factory of probes of the output, or of the layer in the settings.

        They have no numbers if the model needs none, else random input.
        """
        return self._without_numbers or self._random_probes

    @cached_property
    def _without_numbers(self) -> ProbeFactory | None:
        return probes_without_numbers(self._small, self.settings.layer)

    @cached_property
    def _locality(self) -> Locality:
        axes = self.geometry.x, self.geometry.y
        return Locality(self.model, self._small.x.shape[1], self._random_probes, axes)

    @cached_property
    def geometry(self) -> Geometry:
        """The unclipped field of the output, or of the layer in the settings."""
        (found,) = self.geometries([self.settings.layer])
        return found

    @cached_property
    def _random_probes(self) -> ProbeFactory:
        return random_probes(self.model, self._random_input(), self.settings.layer)

    @cached_property
    def _small(self) -> Probe:
        """A pass with numbers on small input."""
        return next(growing_probes(self._random_probes, 0, self._only_size))

    def ready(self, size: Callable[[], Size] | None = None) -> FieldMeter:
        """Return the meter for input that the model takes.

        Args:
            size: finds the width and height of the first image, of whose size all input is if the
                model takes no other; None without images.

        Raises:
            UsageError: the output holds detections, and no layer is named.
        """
        try:
            _ = self._small
        except DetectionsError:
            if self.settings.layer is not None:
                return replace(self, model=replace(self.model, for_layers=True)).ready(size)
            raise UsageError(
                f"{self.model.name}: the output holds detections, which have no pixels: look at a "
                "layer with --layer, as gradviz inspect lists them"
            ) from None
        except ModelError:  # raised again where it is measured
            if size is None or self._only_size is not None:
                return self
            return replace(self, settings=replace(self.settings, input_size=size())).ready()
        return self

    def geometries(self, names: Sequence[str | None]) -> list[Geometry]:
        """Measure the unclipped fields of the output (None) and of layers.

        Args:
            names: the names of the layers; None for the output.

        Raises:
            UsageError: the output of the run, which may be a layer's, has no pixels.
            ModelError: the model runs on none of the sizes.
        """
        try:
            self._small.check_map()
            if self.settings.layer is None:
                self._small.check_rows()
            return measure_geometries(
                self._random_probes, names, self._only_size, self._small, self.on_step
            )
        except ModelError as error:
            if self._only_size is not None:
                raise
            raise ModelError(
                f"{error}; or name an input size that it takes: --input-size WxH"
            ) from None

    def layers(self) -> list[Layer]:
        """List the layers of the model in the order in which they run."""
        return list(self._small.layers.values())

    def at_image(self, image: LoadedImage) -> Iterator[Field]:
        """Measure the fields of the output pixels at one image."""
        return self._fields(image, [image.prepared])

    def at_noise(self, geometry: Geometry) -> Iterator[Field]:
        """Measure the fields at random input; the effective ones are averaged over the samples.

        Args:
            geometry: the unclipped field; the input is chosen large enough for it.
        """
        size = self._only_size or choose_size(self.probe_at, geometry)
        # From the first draw: the search for a size must not change the samples.
        random = self._random_input()
        samples = [random.draw(size) for _ in range(self.settings.samples)]
        return self._fields(LoadedImage(NOISE, samples[0]), samples)

    def _fields(self, image: LoadedImage, samples: Sequence[Prepared]) -> Iterator[Field]:
        """Measure the fields at an image; the effective ones are averaged over the samples."""
        probe = self._structure(image.prepared)
        site = self._site(image)
        asked = self._pixels(probe, site)
        structures = {pixel: probe.structural(*pixel) for pixel in asked}
        parts = {pixel: self._part(image.prepared, pixel) for pixel in structures}
        gradients: dict[tuple[int, int], list[Floats]] = {pixel: [] for pixel in parts}
        for n, sample in enumerate(samples):
            self.on_step(f"{image.name}: the effective field, {n + 1} of {len(samples)}")
            whole = probe if n == 0 and not probe.x.is_meta else None
            for pixel, part in parts.items():
                if part is None:
                    whole = whole or self._probe(sample)
                    gradients[pixel].append(whole.gradient(*pixel))
                else:
                    gradients[pixel].append(self._gradient_of(part, sample))
        for pixel, structure in structures.items():
            found = _field(image, pixel, asked[pixel], probe.size, structure, gradients[pixel])
            unsure = self.settings.at and site.centres is None
            yield replace(found, notes=(*found.notes, BY_PROPORTION)) if unsure else found

    def _structure(self, image: Prepared) -> Probe:
        """Probe an image, without its numbers if the model needs none: that costs nothing."""
        if self._without_numbers is not None:
            with suppress(ModelError):
                return self._without_numbers(image.frame.input)
        return self._probe(image)

    def _probe(self, sample: Prepared) -> Probe:
        return Probe(self.model, sample.tensor, self.settings.layer)

    def _part(self, image: Prepared, pixel: tuple[int, int]) -> Tile | None:
        """Find the part of an image from which an output pixel is computed.

        Returns:
            None if it is not proved to agree with the whole, or is no less than half of it.
        """
        (x, y), (width, height) = pixel, image.frame.input
        across, down = self.geometry.x, self.geometry.y
        half = width * height // 2
        if self.settings.layer is not None or across is None or down is None:
            return None
        if self._without_numbers is None:  # it decides by values, or reads memory by itself
            return None
        if across.within(width, x) * down.within(height, y) > half:  # no proof is needed
            return None
        tile = self._locality.proved((width, height), (x, y, x + 1, y + 1))
        return tile if tile is not None and input_pixels([tile]) <= half else None

    def _gradient_of(self, part: Tile, sample: Prepared) -> Floats:
        """Compute the gradient of an output pixel from a part of the image; zero around it."""
        x0, y0, x1, y1 = part.inputs
        gradient = np.zeros(sample.shape, np.float32)
        probe = Probe(self.model, sample.part(part.inputs))
        gradient[:, y0:y1, x0:x1] = probe.gradient(*part.inner[:2])
        return gradient

    def _random_input(self) -> RandomInput:
        return RandomInput.of(self.model, self.recipe, self.settings.random_seed)

    @property
    def _only_size(self) -> Size | None:
        return self.settings.input_size or only_size(self.model)

    def _pixels(self, probe: Probe, site: Site) -> dict[tuple[int, int], str]:
        """Find the output pixels that are asked, each with the words that ask for it."""
        width, height = probe.size
        over = {at_box(probe.size, site, x, y)[:2]: f"at {x},{y}" for x, y in self.settings.at}
        pixels = self.settings.pixels or ([] if over else [(width // 2, height // 2)])
        return {(x, y): f"pixel {x},{y}" for x, y in pixels} | over

    def _site(self, image: LoadedImage) -> Site:
        """Find where the output's pixels lie in an image."""
        if not self.settings.at:
            return Site(image.prepared.frame)
        return placed(image.prepared.frame, self.geometry.x, self.geometry.y)


def choose_size(probe_at: ProbeFactory, geometry: Geometry) -> Size:
    """Find a size of random input on which a field in the middle is free of the border.

    Sizes that the model does not take are skipped. If it takes none, the best size is returned, for
    which the model will raise its error.

    Args:
        probe_at: makes a probe on random input of a size.
        geometry: the unclipped field.
    """
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
            probe_at(size)
            return size
    return width, height


def _field(
    image: LoadedImage,
    pixel: tuple[int, int],
    asked: str,
    outputs: Size,
    structural: StructuralField,
    gradients: Sequence[Floats],
) -> Field:
    """Measure the field of one output pixel.

    Args:
        image: the image.
        pixel: x and y in the output map.
        asked: the words that ask for it.
        outputs: the width and height of the output map.
        structural: its structural field.
        gradients: [C, H, W] at each sample.
    """
    (width, height), (columns, rows) = image.prepared.frame.input, outputs
    x, y = pixel
    return Field(
        image=image.name,
        pixel=pixel,
        asked=asked,
        structural=structural,
        local=effective.support_of(gradients[0]),
        energy=np.mean([effective.energy_of(gradient) for gradient in gradients], axis=0),
        contribution=np.mean(
            [effective.contribution_of(gradient) for gradient in gradients], axis=0
        ),
        footprint=(
            x * width / columns,
            y * height / rows,
            (x + 1) * width / columns,
            (y + 1) * height / rows,
        ),
        shown=image.prepared.shown,
        notes=image.prepared.notes,
    )
