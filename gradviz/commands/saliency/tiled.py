"""Images in tiles: for seeds that need a part of the image only, and for large images.

The gradient is linear in the seed, so it is the sum of the gradients of the seed's parts. If a
model's output moves with the image, each of them needs only the part of the image in its field.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch

from gradviz.arrays import Floats
from gradviz.backward.relevance.hand_back import recorder
from gradviz.backward.relevance.operation import Cause
from gradviz.backward.vjp import inner
from gradviz.commands.saliency.answered import Answered, answered, channels_of
from gradviz.commands.saliency.attribute import Forward, at_images
from gradviz.commands.saliency.memory import Memory
from gradviz.commands.saliency.result import Attribution, Outcome
from gradviz.commands.saliency.settings import Settings
from gradviz.errors import GradvizError, SeedError, UsageError
from gradviz.field.locality import Locality, Parts
from gradviz.field.sites import notes_on, site_of, suppression_of
from gradviz.field.tiles import OutputGrid, Tile, input_pixels, output_of_tiles
from gradviz.field.trial import NotTileable
from gradviz.image.load import LoadedImage
from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model
from gradviz.runs.results import Failure
from gradviz.seeds.places import Part, Site, bounding_box
from gradviz.seeds.seed import Seed, parse_seed

_LOG = logging.getLogger(__name__)
"""The messages that only `-v` shows."""

Allocate = Callable[[tuple[int, ...]], Floats]
"""An allocator of zeroed float32 arrays of a given shape."""

LEAST = 1 << 15
"""The pixels of an image below which trying the model for tiles costs more than tiles save."""
MANY = 1 << 21
"""The pixels of an image from which on it is cut into tiles to save memory."""
SIDE = 512
"""The side of a tile in pixels, without halo; more if the field is large, since every tile has
one."""


def in_memory(shape: tuple[int, ...]) -> Floats:
    """Allocate a zeroed array in memory."""
    return np.zeros(shape, np.float32)


@dataclass(frozen=True)
class Whole:
    """Seeds that are computed from whole images."""

    seeds: tuple[Seed, ...]
    """The seeds; empty for the default of the model's output."""


@dataclass(frozen=True)
class TilePlan:
    """One image under one seed, and the tiles from which its gradient is put together."""

    image: LoadedImage
    seed: Seed
    grid: OutputGrid
    """The output map of the whole image."""
    tiles: tuple[Tile, ...] | SeedError
    """The tiles, or the error if the seed does not fit the image."""
    parts: Parts
    """The evidence that the tiles agree with the whole."""
    site: Site
    """The place of the seed in the image."""
    outputs: dict[str, torch.Tensor]
    """The output of the last image whose output was wanted, by its name."""

    def outcome(self, model: Model, settings: Settings, allocate: Allocate) -> Outcome:
        """Compute the gradient tile by tile.

        Args:
            model: computes the tiles: the model of the plan, or a faster form of it.
            settings: the method.
            allocate: allocates the array of the whole image.
        """
        try:
            if isinstance(self.tiles, SeedError):
                raise self.tiles
            return self._put_together(model, settings, allocate(self.image.prepared.shape))
        except GradvizError as error:
            return Failure(self.image.name, self.seed.spec, error)

    def _put_together(self, model: Model, settings: Settings, array: Floats) -> Attribution:
        assert not isinstance(self.tiles, SeedError)
        prepared, seed = self.image.prepared, self.seed.for_image(self.image.name)
        losses, channels = list[float](), set[int]()
        score, conservation, notes = 0.0, 0.0, dict[str, None]()
        absorbed = Counter[Cause]()
        for tile in self.tiles:
            x = model.batch_of(prepared.part(tile.inputs))
            operands = recorder() if settings.reads_operands else None
            with operands or nullcontext():
                y = model(x)
            output, v = y.detach(), torch.zeros_like(y)
            x0, y0, x1, y1 = tile.inner
            part = Part(tile.outputs, self.grid.size)
            inner_output, site = output[0, ..., y0:y1, x0:x1], replace(self.site, part=part)
            v[0, ..., y0:y1, x0:x1] = seed.cotangent(inner_output, site)
            channels |= channels_of(v[0])
            if (loss := seed.loss(inner_output, site)) is not None:
                losses.append(loss)
            forward = Forward((self.image,), x, y, operands=operands)
            with foreign_code(f"{model.name}: the backward pass failed"):
                (found,) = at_images(forward, self.seed.spec, v, settings, retain_graph=False)
            x0, y0, x1, y1 = tile.inputs
            array[:, y0:y1, x0:x1] += found.array
            score += inner(v, output)
            absorbed.update(found.absorbed or {})
            conservation += found.conservation or 0
            answer = self.seed.answer(inner_output, site)
            if answer is not None and self.grid.size != (1, 1):  # this tile's is not the map's
                answer = replace(answer, score=score, share=None)
            notes.update(dict.fromkeys(found.notes + self.seed.warnings(inner_output, site)))
        return replace(
            found,
            array=array,
            output_shape=(
                *found.output_shape[:-2],
                self.grid.y.outputs,
                self.grid.x.outputs,
            ),
            score=score,
            answer=answer,
            absorbed=found.absorbed and dict(absorbed),
            conservation=None if found.conservation is None else conservation,
            notes=tuple(notes),
            tiles=len(self.tiles),
            within=bounding_box([tile.inputs for tile in self.tiles]),
            parts=self.parts,
            marks=self.seed.marks(inner_output, site),
            loss=sum(losses) if losses else None,
            answered=self._answered(model, channels) if settings.keeps_output else None,
        )

    def _answered(self, model: Model, channels: set[int]) -> Answered:
        """Describe the output of the whole image, which several seeds may share."""
        name = self.image.name
        if name not in self.outputs:
            self.outputs.clear()  # one of them may fill the memory
            self.outputs[name] = self._output(model)
        return answered(self.outputs[name], channels, self.site)

    def _output(self, model: Model) -> torch.Tensor:
        """Compute the output of the whole image, tile by tile."""

        def output_of(tile: Tile) -> torch.Tensor:
            return model(model.batch_of(self.image.prepared.part(tile.inputs)).detach())[0]

        with torch.no_grad():
            return output_of_tiles(whole_map(self.grid), self.grid.size, output_of)


def whole_map(grid: OutputGrid) -> list[Tile]:
    """Cut the whole output map into tiles, without a gradient."""
    return grid.tiles((0, 0, *grid.size), max(SIDE, grid.x.field.size, grid.y.field.size))


class Tiler:
    """A planner: decides for each seed and image if it is computed in tiles."""

    def __init__(self, model: Model, settings: Settings, memory: Memory) -> None:
        """Take the model on which tiles are tried, the choices of a run, and what is known."""
        self._model = model
        self._settings = settings
        self._memory = memory

    def site(self, image: LoadedImage, seed: Seed) -> Site:
        """Return the place of a seed in an image, with the centres of the fields if it is one."""
        site = site_of(
            self._model, image.prepared, seed, lambda axis: self._known(image).field(axis)
        )
        return replace(site, suppression=suppression_of(self._model, self._settings.boxes))

    def notes(self, image: LoadedImage, seed: Seed) -> tuple[str, ...]:
        """Return the warnings about the place that a seed names."""
        return notes_on(seed, self.site(image, seed))

    def plan(self, images: Sequence[LoadedImage], seeds: Sequence[Seed]) -> list[TilePlan | Whole]:
        """Decide for images of one size how each seed is computed, in the order of the seeds.

        Args:
            images: the images, whose tensors have one shape.
            seeds: the seeds; empty for the default of the model's output.

        Raises:
            UsageError: tiles were requested, and are not possible.
        """
        *_, height, width = images[0].prepared.shape
        if self._model.inputs.size is not None:
            if self._settings.tiling == "always":
                raise UsageError(
                    f"--tile {self._settings.tile}: the model's other input is a picture of the "
                    "image's size, which has no tiles; leave out --tile"
                )
            return [Whole(tuple(seeds))]
        if self._model.detects:
            if self._settings.tiling == "always":
                raise UsageError(
                    f"--tile {self._settings.tile}: the boxes of a detector are chosen from the "
                    "whole image; leave out --tile"
                )
            return [Whole(tuple(seeds))]
        if not self._may_pay(width * height, seeds):
            return [Whole(tuple(seeds))]
        try:
            locality = self._known(images[0])
            size = images[0].prepared.frame.input
            known = locality.of(size)
            grid = known.grid
            # The default seed of a dense output; other outputs have no grid.
            some = seeds or (parse_seed("ones"),)
            cuts = [self._tiled(images, grid, seed) for seed in some]
            tiles = [tile for each in cuts for tile in _tiles_of(each)]
            tiles += whole_map(grid) if self._settings.keeps_output else []
            parts = locality.check(size, tiles)
        except NotTileable as error:
            if self._settings.tiling != "auto":
                raise UsageError(
                    f"--tile {self._settings.tile}: {error}; leave out --tile"
                ) from None
            _LOG.info("images are computed at once, for parts are not proved: %s", error)
            return [Whole(tuple(seeds))]
        if parts == "tried":
            _LOG.info("parts are tried, not proved: %s", known.unproved)
        steps: list[TilePlan | Whole] = []
        outputs: dict[str, torch.Tensor] = {}
        for whole, alike in groupby(zip(some, cuts, strict=True), key=lambda pair: pair[1] is None):
            together = list(alike)
            if whole:
                steps.append(Whole(tuple(seed for seed, _ in together)))
            else:
                steps += [
                    TilePlan(image, seed, grid, tiles, parts, self.site(image, seed), outputs)
                    for seed, found in together
                    for image, tiles in zip(images, found or (), strict=True)
                ]
        return steps

    def _may_pay(self, pixels: int, seeds: Sequence[Seed]) -> bool:
        """Return True if trying the model for tiles may pay."""
        if self._settings.tiling != "auto":
            return self._settings.tiling == "always"
        if not self._settings.tileable or pixels < LEAST:
            return False
        return pixels >= MANY or any(seed.bounded for seed in seeds)

    def _tiled(
        self, images: Sequence[LoadedImage], grid: OutputGrid, seed: Seed
    ) -> list[tuple[Tile, ...] | SeedError] | None:
        """Cut the part of each image that the seed needs; None if whole images cost less."""
        cuts: list[tuple[Tile, ...] | SeedError] = []
        for image in images:
            try:
                tiles = self._cut(grid, image, seed)
            except SeedError as error:
                cuts.append(error)
                continue
            *_, height, width = image.prepared.shape
            small = len(tiles) == 1 or width * height < MANY
            if (
                self._settings.tiling == "auto"
                and small
                and input_pixels(tiles) > width * height / 2
            ):
                return None
            cuts.append(tuple(tiles))
        return cuts

    def _cut(self, grid: OutputGrid, image: LoadedImage, seed: Seed) -> list[Tile]:
        box = seed.box(grid.size, self.site(image, seed))
        if not self._settings.linear:  # with an activation rule, the parts do not add up
            return [grid.tile(box)]
        large = max(SIDE, 4 * grid.x.field.size, 4 * grid.y.field.size)
        return grid.tiles(box, self._settings.tile_size or large)

    def _known(self, image: LoadedImage) -> Locality:
        """Return the locality of the model for images with this number of channels."""
        return self._memory.locality(self._model, image.prepared)


def _tiles_of(cuts: Sequence[tuple[Tile, ...] | SeedError] | None) -> list[Tile]:
    return [tile for tiles in cuts or () if not isinstance(tiles, SeedError) for tile in tiles]
