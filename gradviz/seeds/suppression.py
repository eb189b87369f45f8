"""Suppression: one box is kept of several for the same object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradviz.detections import LABEL, SCORE
from gradviz.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Suppression:
    """The rule by which one box is kept of several for the same object."""

    score: float = 0.25
    """The least score of a detection."""
    iou: float = 0.5
    """The largest overlap of two detections of one class: intersection over union."""

    def __post_init__(self) -> None:
        for option, share in (("--box-score", self.score), ("--box-iou", self.iou)):
            if not 0 <= share <= 1:
                raise UsageError(f"{option} {share:g}: give a share from 0 to 1")


DEFAULT_RULE = Suppression()


def survivors(rows: Tensor, rule: Suppression) -> list[int]:
    """Choose the detections of one image: greedy suppression, class by class.

    From the highest score down, a box is kept if no kept box of its class overlaps it more than the
    rule allows. Boxes without area, and those with NaN, are left out.

    Args:
        rows: packed detections [K, 7].
        rule: the least score, and the largest overlap.

    Returns:
        the numbers of the rows, by falling score.

    Source:
        Felzenszwalb et al. 2010, doi:10.1109/TPAMI.2009.167
    """
    rows = rows.detach().double().cpu()
    boxes, scores, labels = rows[:, :4], rows[:, SCORE], rows[:, LABEL]
    sizes = boxes[:, 2:] - boxes[:, :2]
    sound = rows.isfinite().all(1) & (sizes > 0).all(1) & (scores >= rule.score)
    left = scores.argsort(descending=True, stable=True)
    left = left[sound[left]]
    found = []
    while len(left):
        first, left = left[0], left[1:]
        found.append(int(first))
        same = labels[left] == labels[first]
        left = left[~(same & (_overlaps(boxes[first], boxes[left]) > rule.iou))]
    return found


def _overlaps(box: Tensor, others: Tensor) -> Tensor:
    """Compute the intersection over union of a box [4] with boxes [K, 4]."""
    low, high = box[:2].maximum(others[:, :2]), box[2:].minimum(others[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    return shared / ((box[2:] - box[:2]).prod() + areas - shared)
