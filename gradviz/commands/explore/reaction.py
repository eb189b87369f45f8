"""The dual question: how all outputs react if one pixel of the input becomes brighter."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gradviz.arrays import Box, Floats, Size
from gradviz.backward.jvp import Push, find_way
from gradviz.commands.explore.fields import Fields
from gradviz.errors import DetectionsError, SeedError
from gradviz.field.locality import Locality
from gradviz.image.prepare import Prepared
from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model, deterministic
from gradviz.seeds.outputs import planes_of


@dataclass(frozen=True, eq=False)
class Reaction:
    """The reaction `J u` of a model's output to one pixel, 1 on each of its channels."""

    values: Floats
    """[C, h, w], in a window of the output map."""
    window: Box
    """The place of the window; the reaction outside of it is 0."""
    size: Size
    """The width and height of the map; 1 and 1 for class scores."""


class Reactions:
    """One model that is asked how its output reacts."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._way: Push | None = None

    def at(
        self, prepared: Prepared, pixel: tuple[int, int], fields: Fields, locality: Locality
    ) -> Reaction:
        """Compute the reaction to a pixel; of a large image, from the part that matters.

        Args:
            prepared: the image.
            pixel: x and y of the input.
            fields: the fields of the output, which say what the pixel can change.
            locality: the findings about the model's parts.

        Raises:
            SeedError: the pixel is outside the input, or the output holds detections.
            ModelError: the model fails, or lacks a derivative.
        """
        x, y = pixel
        width, height = prepared.frame.input
        if not (0 <= x < width and 0 <= y < height):
            raise SeedError(f"reacts:{x},{y}: lies outside the input, which is {width}x{height}")
        reached = _reached(fields, pixel)
        tile = None if reached is None else locality.proved(prepared.frame.input, reached)
        if tile is None:
            return self._pushed(prepared, (0, 0, width, height), pixel)
        found = self._pushed(prepared, tile.inputs, pixel)
        assert fields.shape is not None
        a, b, c, d = tile.inner
        size = (fields.shape[-1], fields.shape[-2])
        return Reaction(found.values[:, b:d, a:c], tile.outputs, size)

    def _pushed(self, prepared: Prepared, box: Box, pixel: tuple[int, int]) -> Reaction:
        """Compute the reaction of the output of a part of the image."""
        model = self._model
        left, top, _, _ = box
        x, y = pixel
        image = model.batch_of(prepared.part(box)).detach()
        with foreign_code(f"{model.name}: the reaction failed"), deterministic():
            u = torch.zeros_like(image)
            u[..., y - top, x - left] = 1
            try:
                self._way = self._way or find_way(model, image)
            except DetectionsError:
                raise SeedError(
                    f"reacts:{x},{y}: the output holds detections, and is no map: point at a box, "
                    "or ask for one with box:N"
                ) from None
            pushed = self._way(model, image, u)[0]
        planes = planes_of(pushed.float().cpu())
        if planes.dim() != 3:
            raise SeedError(f"the output {list(planes.shape)} is no map and no class scores")
        _, height, width = planes.shape
        return Reaction(planes.numpy(), (0, 0, width, height), (width, height))


def _reached(fields: Fields, pixel: tuple[int, int]) -> Box | None:
    """Find the box of output pixels whose fields hold a pixel; None if they are not known."""
    if fields.columns is None or fields.rows is None:
        return None
    x, y = (
        [n for n, (start, stop) in enumerate(ends) if start <= place < stop]
        for ends, place in zip((fields.columns, fields.rows), pixel, strict=True)
    )
    if not x or not y:
        return None
    return x[0], y[0], x[-1] + 1, y[-1] + 1
