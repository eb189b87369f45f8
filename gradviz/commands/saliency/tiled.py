"""Images in parts: seeds that need a part of the image only, and images cut into tiles.

The gradient is linear in the seed, so it is the sum of the gradients of the seed's parts; and where
a model's answer moves with the image, each of them needs no more of it than the field of its part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, groupby

import numpy as np
import torch

from gradviz.arrays import Floats
from gradviz.backward.vjp import inner
from gradviz.commands.saliency.attribute import Forward, at_images
from gradviz.commands.saliency.plan import Plan
from gradviz.commands.saliency.repeats import Repeats
from gradviz.commands.saliency.result import Attribution, Outcome
from gradviz.errors import GradvizError, SeedError, UsageError
from gradviz.field.locality import Canvases, NotLocal
from gradviz.field.probe import Probe
from gradviz.field.tiles import Canvas, Tile, area
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import Prepared
from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model
from gradviz.runs.results import Failure
from gradviz.seeds.kinds import Part, Site
from gradviz.seeds.seed import Seed, parse_seed

Room = Callable[[tuple[int, ...]], Floats]
"""Makes an array of zeros, float32, of a shape."""

LEAST = 1 << 20
"""Pixels of an image below which finding out about the model costs more than it saves."""
MANY = 1 << 21
"""Pixels of an image from which it is cut into tiles, for its memory."""
SIDE = 512
"""Pixels of a tile's side, halo apart; more where the field is large, since every tile has one."""


def in_memory(shape: tuple[int, ...]) -> Floats:
    """An array of zeros."""
    return np.zeros(shape, np.float32)


class Local:
    """A model's images in parts, as far as the model and the method allow it."""

    def __init__(self, model: Model, plan: Plan, room: Room = in_memory) -> None:
        """`room` is where gradients of whole images are put together."""
        self._loaded = model
        """What parts are tried on."""
        self.model = model
        """What computes them: the same, or a faster form of it."""
        self._plan = plan
        self._room = room
        self._canvases: Canvases | None = None
        self.repeats = Repeats()
        """What the run knows of the model when it computes images at once."""

    def split(
        self, group: Sequence[LoadedImage], seeds: Sequence[Seed]
    ) -> Iterator[tuple[bool, Sequence[Seed]]]:
        """Seeds that follow each other and are computed alike: in parts (True), or at once.

        Args:
            group: images of one size.
            seeds: empty for the default of the model's output.

        Raises:
            UsageError: tiles were asked for, and cannot be had.
        """
        *_, height, width = group[0].prepared.shape
        if not self._may_pay(width * height, seeds):
            yield False, seeds
            return
        try:
            canvases = self._known(group[0])
            size = group[0].prepared.frame.input
            canvas = canvases.of(size)
            # The default of a dense output, and no other has a canvas.
            some = seeds or (parse_seed("ones"),)
            parts = [self._parts(group, canvas, seed) for seed in some]
            canvases.check(size, list(chain.from_iterable(tiles or () for tiles in parts)))
        except NotLocal as error:
            if self._plan.tile != "auto":
                raise UsageError(f"--tile {self._plan.tile}: {error}; leave out --tile") from None
            yield False, seeds
            return
        pairs = zip(some, parts, strict=True)
        for apart, alike in groupby(pairs, key=lambda pair: pair[1] is not None):
            yield apart, [seed for seed, _ in alike]

    def outcome(self, image: LoadedImage, seed: Seed) -> Outcome:
        """The outcome of one image and seed, computed in parts."""
        try:
            return self._saliency(image, seed)
        except GradvizError as error:
            return Failure(image.name, seed.spec, error)

    def _saliency(self, image: LoadedImage, seed: Seed) -> Attribution:
        canvas = self._known(image).of(image.prepared.frame.input)
        model, prepared = self.model, image.prepared
        array = self._room(prepared.shape)
        score, notes = 0.0, dict[str, None]()
        tiles = self._tiles(canvas, image, seed)
        for tile in tiles:
            x = prepared.part(tile.inputs)[None].to(model.device, model.dtype).requires_grad_()
            y = model(x)
            output, v = y.detach(), torch.zeros_like(y)
            x0, y0, x1, y1 = tile.inner
            part = Part(tile.outputs, canvas.size)
            v[0, ..., y0:y1, x0:x1] = seed.cotangent(
                output[0, ..., y0:y1, x0:x1], Site(prepared.frame, model.labels, part)
            )
            with foreign_code(f"{model.name}: the backward pass failed"):
                (found,) = at_images(Forward(x, y), v, self._plan, keep=False)
            x0, y0, x1, y1 = tile.inputs
            array[:, y0:y1, x0:x1] += found.array
            score += inner(v, output)
            notes.update(dict.fromkeys(found.notes))
        return Attribution(
            image=image.name,
            seed=seed.spec,
            method=self._plan.method,
            array=array,
            output_shape=(*output.shape[1:-2], canvas.y.outputs, canvas.x.outputs),
            score=score,
            prepared=prepared,
            gated=found.gated,
            notes=tuple(notes),
            tiles=len(tiles),
        )

    def _may_pay(self, pixels: int, seeds: Sequence[Seed]) -> bool:
        """Whether it is worth finding out about the model."""
        if self._plan.tile != "auto":
            return self._plan.tile != "off"
        if not self._plan.apart or pixels < LEAST:
            return False
        return pixels >= MANY or any(seed.kind.box is not None for seed in seeds)

    def _parts(self, group: Sequence[LoadedImage], canvas: Canvas, seed: Seed) -> list[Tile] | None:
        """The tiles of all the images, or None if the seed is to be computed at once."""
        parts = []
        for image in group:
            try:
                tiles = self._tiles(canvas, image, seed)
            except SeedError:
                continue  # and it will say so
            *_, height, width = image.prepared.shape
            small = len(tiles) == 1 or width * height < MANY
            if self._plan.tile == "auto" and small and area(tiles) > width * height / 2:
                return None
            parts += tiles
        return parts

    def _tiles(self, canvas: Canvas, image: LoadedImage, seed: Seed) -> list[Tile]:
        box = seed.box(canvas.size, Site(image.prepared.frame, self.model.labels))
        if self._plan.gated:  # what a rule makes of parts does not add up
            return [canvas.tile(box)]
        asked = self._plan.tile
        large = max(SIDE, 4 * canvas.x.axis.size, 4 * canvas.y.axis.size)
        return canvas.tiles(box, asked if isinstance(asked, int) else large)

    def _known(self, image: LoadedImage) -> Canvases:
        """What is known of the model, which takes images of as many channels."""
        if self._canvases is None:
            channels = image.prepared.shape[0]
            like = replace(image.prepared, levels=np.zeros((channels, 0, 0), np.float32), white=1)
            self._canvases = Canvases(self._loaded, partial(_noise_probe, self._loaded, like))
        return self._canvases


def _noise_probe(model: Model, like: Prepared, width: int, height: int) -> Probe:
    """On random pixels, preprocessed like those of an image."""
    pixels = np.random.default_rng(0).random((like.shape[0], height, width), np.float32)
    return Probe(model, replace(like, levels=pixels).part((0, 0, width, height)))
