"""The answer of a model to one image, of whatever kind its output is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gradviz.backward.graph import is_of_sigmoid
from gradviz.detections import Detections
from gradviz.errors import GradvizError, UsageError
from gradviz.field.locality import Locality
from gradviz.field.tiles import Tile, output_of_tiles
from gradviz.field.trial import NotTileable
from gradviz.image.frame import Frame
from gradviz.image.prepare import Prepared
from gradviz.model.model import Model, deterministic
from gradviz.seeds.answers import Answer, answer_for, ranked
from gradviz.seeds.boxes import Detection, detection_at
from gradviz.seeds.outputs import OutputKind, output_kind, planes_of
from gradviz.seeds.places import Site
from gradviz.seeds.suppression import Suppression, survivors

PART_SIDE = 512
"""The side of a tile in pixels, without its halo."""

KindName = Literal["map", "classes", "boxes", "other"]


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """The answer of a model to one image."""

    kind: KindName
    shape: tuple[int, ...]
    """The shape of the output without the batch axis; of detections [K, 7]."""
    planes: Tensor | None = None
    """A map [C, h, w], on the CPU; None for another kind."""
    classes: tuple[Answer, ...] = ()
    """The classes that rank first, by falling score."""
    detections: tuple[Detection, ...] = ()
    """The detections after suppression, by falling score."""


def output_of(model: Model, prepared: Prepared, rule: Suppression, most: int) -> ModelOutput:
    """Run a model on one image, and read its output.

    Args:
        model: the model.
        prepared: the image.
        rule: the rule by which detections are chosen.
        most: the most classes that are listed.

    Raises:
        GradvizError: the model fails, or its output is none that can be asked.
    """
    x = model.batch_of(prepared.tensor).detach()  # without a gradient: no graph
    with deterministic():
        try:
            y = model(x)[0].detach()
        except UsageError:
            # Several outputs fit, as a detector's boxes and scores do.
            found = _detections(model, x)
            if found is None:
                raise
            return _boxes(model, found, prepared.frame, rule)
        if model.boxes is not None or (y.dim() == 2 and model.as_detector().classes):
            found = _detections(model, x)
            if found is not None:
                return _boxes(model, found, prepared.frame, rule)
        match output_kind(y):
            case OutputKind.SCORES:
                return _classes(model, x, y, most)
            case OutputKind.DENSE:
                return ModelOutput("map", tuple(y.shape), planes_of(y).float().cpu())
    return ModelOutput("other", tuple(y.shape))


def output_in_tiles(
    model: Model, prepared: Prepared, locality: Locality, between: Callable[[int, int], object]
) -> ModelOutput | None:
    """Compute the map of a large image tile by tile.

    Args:
        model: the model.
        prepared: the image.
        locality: the findings about its parts.
        between: is called before each tile, with its number and the number of all.

    Returns:
        None if no parts are proved, or the output is no map.
    """
    size = prepared.frame.input
    try:
        known = locality.of(size)
        if known.unproved:
            return None
        tiles = known.grid.tiles((0, 0, *known.grid.size), PART_SIDE)
        locality.check(size, tiles)
    except NotTileable:
        return None

    def announced() -> Iterator[Tile]:
        for n, tile in enumerate(tiles):
            between(n, len(tiles))
            yield tile

    def tile_output(tile: Tile) -> Tensor:
        with deterministic():
            return model(model.batch_of(prepared.part(tile.inputs)).detach())[0]

    y = output_of_tiles(announced(), known.grid.size, tile_output)
    return ModelOutput("map", tuple(y.shape), planes_of(y))


def _detections(model: Model, x: Tensor) -> Detections | None:
    try:
        return model.as_detector().detections(x)
    except GradvizError:
        return None


def _boxes(model: Model, found: Detections, frame: Frame, rule: Suppression) -> ModelOutput:
    rows = found.packed()[0].detach()
    site = Site(frame, model.labels, suppression=rule)
    chosen = tuple(detection_at(rows, row, site) for row in survivors(rows, rule))
    return ModelOutput("boxes", tuple(rows.shape), detections=chosen)


def _classes(model: Model, x: Tensor, y: Tensor, most: int) -> ModelOutput:
    apart = bool(((y >= 0) & (y <= 1)).all())
    if apart:  # the graph of the pass tells a sigmoid from a softmax
        apart = is_of_sigmoid(model(x.clone().requires_grad_()))
    planes = planes_of(y)
    first = ranked(planes)[:most].flatten().tolist()
    classes = tuple(answer_for(planes, index, model.labels, apart) for index in first)
    return ModelOutput("classes", tuple(y.shape), classes=classes)
