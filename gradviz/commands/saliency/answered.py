"""The answer of a model to an image: its output, and the part of it that is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from gradviz.arrays import Array, Bytes, Floats, Size
from gradviz.heatmap.marks import draw_marks
from gradviz.heatmap.output import (
    OutputLegend,
    class_areas,
    class_colour,
    picture_of_classes,
    picture_of_values,
)
from gradviz.image.frame import Frame
from gradviz.marks import Mark, around
from gradviz.seeds.answers import first_answers
from gradviz.seeds.boxes import detection_at
from gradviz.seeds.outputs import OutputKind, output_kind, planes_of
from gradviz.seeds.places import Site
from gradviz.seeds.suppression import survivors

MOST_LINES = 5
"""The most classes or boxes that a legend names."""

Shows = Literal["values", "classes", "class", "boxes", "other"]


@dataclass(frozen=True, eq=False)
class Answered:
    """The output of the model for one image, and the part of it that is shown."""

    array: Floats
    """The output without the batch axis, float32; of a detector its packed detections [K, 7]."""
    shows: Shows
    """`values`: one channel of a map; `classes`: the class that wins at each place of it; `class`:
    the class that ranks first; `boxes`: the detections; `other`: its shape alone."""
    legend: OutputLegend
    channel: int | None = None
    """The channel of `values`."""
    boxes: tuple[Mark, ...] = ()
    """The detections, outlined."""

    def picture(self, backdrop: Bytes, size: Size, frame: Frame | None = None) -> Image.Image:
        """Draw the output, without its legend.

        Args:
            backdrop: the input, or the image file, [H, W, 3]; classes and boxes are shown over it.
            size: the width and height of the input.
            frame: given to draw in the image file's own pixels.
        """
        planes = self.array.reshape(-1, *self.array.shape[-2:]) if self.array.ndim > 1 else None
        match self.shows:
            case "values":
                assert planes is not None and self.legend.low is not None
                assert self.legend.high is not None and self.channel is not None
                plane = planes[self.channel]
                return picture_of_values(plane, self.legend.low, self.legend.high, size, frame)
            case "classes":
                assert planes is not None
                return picture_of_classes(planes.argmax(axis=0), size, frame)
        picture = Image.fromarray(backdrop)
        draw_marks(picture, self.boxes, frame)
        return picture


def channels_of(v: Tensor) -> set[int]:
    """List the channels of one image's output on which a cotangent is not zero."""
    if v.dim() not in (1, 2, 3):
        return set()
    return set((planes_of(v) != 0).flatten(1).any(1).nonzero().flatten().tolist())


def answered(y: Tensor, channels: set[int], site: Site) -> Answered:
    """Describe one image's output.

    Args:
        y: the output without the batch axis.
        channels: the channels that the seed asks about.
        site: the labels, and the rule of suppression if it holds detections.
    """
    array = y.float().cpu().numpy()
    if site.suppression is not None:
        return _boxes(y, array, site)
    match output_kind(y):
        case OutputKind.SCORES:
            (first, *_) = first_answers(y, site.labels, site.apart)
            name = _name(first.index, site)
            share = "" if first.share is None else f", share {100 * first.share:.3g} %"
            return Answered(array, "class", OutputLegend((name, f"score {first.score:.4g}{share}")))
        case OutputKind.DENSE:
            return _map(array, channels, site)
    return Answered(array, "other", OutputLegend((f"an output of the shape {list(y.shape)}",)))


def _map(array: Array, channels: set[int], site: Site) -> Answered:
    planes = array.reshape(-1, *array.shape[-2:])
    if len(planes) == 1 or len(channels) == 1:
        (channel,) = channels if len(planes) > 1 else (0,)
        finite = planes[channel][np.isfinite(planes[channel])]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        name = (_name(channel, site),) if len(planes) > 1 else ()
        return Answered(array, "values", OutputLegend(name, (), low, high), channel)
    areas = class_areas(planes.argmax(axis=0), MOST_LINES)
    lines = tuple(f"{_name(index, site)}, {100 * share:.3g} %" for index, share in areas)
    colours = tuple(class_colour(index) for index, _ in areas)
    return Answered(array, "classes", OutputLegend(lines, colours))


def _boxes(rows: Tensor, array: Array, site: Site) -> Answered:
    assert site.suppression is not None
    found = [detection_at(rows, row, site) for row in survivors(rows, site.suppression)]
    marks = tuple(Mark(f"box:{n}", 1.0, around(*each.box_in_input)) for n, each in enumerate(found))
    lines = tuple(f"{_name(each.index, site)}, {each.score:.3g}" for each in found[:MOST_LINES])
    more = len(found) - MOST_LINES
    lines += (f"and {more} more",) if more > 0 else ()
    none = (f"no box has a score of {site.suppression.score:g}",)
    return Answered(array, "boxes", OutputLegend(lines or none), boxes=marks)


def _name(index: int, site: Site) -> str:
    label = f" ({site.labels[index]})" if index < len(site.labels) else ""
    return f"class {index}{label}"
