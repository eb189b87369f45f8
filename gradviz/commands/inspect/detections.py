"""The detections of a detector, as `inspect` lists them."""

from __future__ import annotations

from dataclasses import asdict

from torch import Tensor

from gradviz.runs.schema import DetectionEntry, InspectedDetections
from gradviz.seeds.boxes import MOST_DETECTIONS, detection_at
from gradviz.seeds.places import Site
from gradviz.seeds.suppression import DEFAULT_RULE, survivors

NONE_FOUND = (
    "there is no detection at this input, so that the gradients are those of the best box below "
    "its least score, if there is any: look at a photo with something in it"
)


def look_at_detections(rows: Tensor, site: Site) -> InspectedDetections:
    """List the detections of one image.

    Args:
        rows: packed detections [K, 7].
        site: the image, the labels and the rule of suppression.
    """
    found = survivors(rows, site.suppression or DEFAULT_RULE)
    return InspectedDetections(
        boxes=len(rows),
        count=len(found),
        first=[
            DetectionEntry.model_validate(asdict(detection_at(rows, row, site)))
            for row in found[:MOST_DETECTIONS]
        ],
    )
