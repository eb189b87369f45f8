"""Detectors: the table of the outputs that hold boxes, and the way to read each.

To add a layout, write a function that returns `Detections`, or None if the output is another, and a
row of `DETECTORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradviz.arrays import Size
from gradviz.detections import Detections
from gradviz.errors import UsageError
from gradviz.model.outputs import children, leaves

BOX_FORMS = ("xyxy", "xywh", "cxcywh")
"""The forms of a box: two corners; the first corner and the size; the centre and the size."""

MOST_OUTSIDE = 0.1
"""The largest share of boxes that may not lie in the input, if a form is found."""

CLEARLY = 4
"""The factor by which more boxes of every other form must lie elsewhere."""

_MARGIN = 0.05
"""The share of a side of the input by which a box may leave it."""

NORMALISED = 2.0
"""The largest coordinate of boxes that are shares of the input."""


@dataclass(frozen=True)
class Reading:
    """The facts by which an output is read as detections."""

    size: Size
    """The width and height of the input."""
    count: int
    """The number N of images."""
    classes: int | None = None
    """The number of classes; None if it is not known."""
    form: str | None = None
    """The form of boxes, one of `BOX_FORMS`; None to find it."""


@dataclass(frozen=True)
class Detector:
    """One row of the table of detectors."""

    name: str
    family: str
    """The output's keys and shapes, and networks that have it, for people."""
    read: Callable[[Any, Reading], Detections | None]
    """`(output, facts) -> detections`; None if the output is another."""
    scores: Callable[[Any, Reading], str | None]
    """`(output, facts) -> the path of the scores`; None if the output may be another."""


def detections_in(output: object, reading: Reading) -> Detections:
    """Read the output of a detector.

    Args:
        output: whatever the model returned.
        reading: the facts that the output does not show.

    Raises:
        UsageError: the output fits two readings, and the message says what tells them apart; or it
            is that of no detector that gradviz reads.
    """
    for detector in DETECTORS.values():
        found = detector.read(output, reading)
        if found is not None:
            return found
    given = ", ".join(
        f"{path or 'a tensor'} {list(leaf.shape)}"
        for path, leaf in leaves(output)
        if isinstance(leaf, Tensor)
    )
    raise UsageError(
        f"the output holds no boxes that can be read: it is {given or type(output).__name__}; "
        f"expected {', or '.join(each.family for each in DETECTORS.values())}"
    )


def scores_path(output: object, reading: Reading) -> str | None:
    """Find the scores in an output that can only be that of a detector.

    Args:
        output: whatever the model returned.
        reading: the facts that the output does not show.

    Returns:
        the dotted path; empty if the output is one tensor. None if the output may be another.
    """
    paths = (detector.scores(output, reading) for detector in DETECTORS.values())
    return next((path for path in paths if path is not None), None)


def box_form(form: str | None) -> str | None:
    """Check the form of boxes that a user gives.

    Raises:
        UsageError: it is none of `BOX_FORMS`.
    """
    if form not in (None, *BOX_FORMS):
        raise UsageError(f"--boxes {form}: give {', '.join(BOX_FORMS)}")
    return form


# Queries, each with a box: DETR ------------------------------------------------------------------


def _queries(output: object, reading: Reading) -> Detections | None:
    key = _logits_key(output, reading)
    if key is None:
        return None
    inside: dict[str, Any] = children(output)
    logits, shares = (inside[each][: reading.count] for each in (key, "pred_boxes"))
    if _has_no_object(logits.shape[-1], reading.classes):
        chances = logits.softmax(-1)[..., :-1]
    else:
        chances = logits.sigmoid()
    scores, labels = chances.max(-1)
    values = logits.gather(-1, labels[..., None])[..., 0]
    return Detections(_corners(shares, "cxcywh", reading.size), values, scores, labels)


def _logits_key(output: object, reading: Reading) -> str | None:
    inside: dict[str, Any] = children(output)
    key = next((key for key in ("logits", "pred_logits") if key in inside), "")
    logits, shares = inside.get(key), inside.get("pred_boxes")
    if not isinstance(logits, Tensor) or not isinstance(shares, Tensor):
        return None
    fits = logits.dim() == 3 and shares.shape == (*logits.shape[:2], 4)
    return key if fits else None


def _has_no_object(channels: int, classes: int | None) -> bool:
    """Return True if the last channel means that there is no object, as in DETR and YOLOS."""
    if classes is not None and channels in (classes, classes + 1):
        return channels == classes + 1
    known = "their number is not known" if classes is None else f"there are {classes} classes"
    raise UsageError(
        f"the detector gives {channels} numbers for each box, one for each class and perhaps one "
        f"for no object, and {known}: give the names of all classes with --labels"
    )


# Lists of chosen boxes: torchvision --------------------------------------------------------------


def _chosen(output: object, reading: Reading) -> Detections | None:
    images = _images_in(output)
    if images is None or len(images) < reading.count:
        return None
    images = images[: reading.count]
    most = max(len(image["scores"]) for image in images)

    def rows(key: str) -> Tensor:
        # Rows that are not there have the score 0.
        return torch.stack(
            [
                torch.cat([image[key], image[key].new_zeros(most - len(image[key]), *rest)])
                for image in images
                for rest in [image[key].shape[1:]]
            ]
        )

    scores = rows("scores")
    return Detections(rows("boxes"), scores, scores, rows("labels"), moving=True)


def _images_in(output: object) -> Sequence[Mapping[str, Tensor]] | None:
    """Return the list of one mapping for each image; scripted models return losses beside it."""
    if isinstance(output, tuple):
        return next((found for part in output if (found := _images_in(part)) is not None), None)
    if not isinstance(output, list) or not output:
        return None
    wanted = {"boxes": 2, "labels": 1, "scores": 1}
    for image in output:
        if not isinstance(image, Mapping):
            return None
        parts = [image.get(key) for key in wanted]
        if not all(
            isinstance(part, Tensor) and part.dim() == axes
            for part, axes in zip(parts, wanted.values(), strict=True)
        ):
            return None
    return output


def _chosen_scores(output: object, reading: Reading) -> str | None:
    images = _images_in(output)
    if images is None:
        return None
    return next(path for path, leaf in leaves(output) if leaf is images[0]["scores"])


# One tensor, a box for each cell: one-stage detectors --------------------------------------------


def _cells(output: object, reading: Reading) -> Detections | None:
    """Read [N, 4+C, A], or [N, A, 5+C] whose fifth number is the chance of any object."""
    tensor = _first_tensor(output)
    if tensor is None or tensor.dim() != 3 or not tensor.is_floating_point():
        return None
    tensor = tensor[: reading.count]
    columns, objectness = _numbers_of_a_cell(tensor, reading.classes)
    if columns is None:
        return None
    rest = columns[..., 4:]
    if objectness and not _are_chances(rest):
        raise UsageError(
            "the detector's scores are not from 0 to 1, so that those of object and class cannot "
            "be multiplied: return them after the sigmoid"
        )
    per_class = rest[..., :1] * rest[..., 1:] if objectness else rest
    values, labels = per_class.max(-1)
    scores = values if _are_chances(per_class) else values.sigmoid()
    form = reading.form or _form_of(columns[..., :4], reading.size)
    return Detections(_corners(columns[..., :4], form, reading.size), values, scores, labels)


def _cells_path(output: object, reading: Reading) -> str | None:
    """Tell a detector by the form of its boxes, if that is given, or by the number of classes."""
    tensor = _first_tensor(output)
    if tensor is None or tensor.dim() != 3 or tensor.is_meta:
        return None
    path = "" if tensor is output else "0"
    if reading.form is not None:
        return path
    if reading.classes is None:
        return None
    with suppress(UsageError):  # there are as many numbers, and boxes that lie in the image
        return None if _cells(output, reading) is None else path
    return None


def _first_tensor(output: object) -> Tensor | None:
    """Return a tensor, or the first of a tuple or list: exports have maps of features behind it."""
    if isinstance(output, tuple | list) and output:
        return output[0] if isinstance(output[0], Tensor) else None
    return output if isinstance(output, Tensor) else None


def _numbers_of_a_cell(tensor: Tensor, classes: int | None) -> tuple[Tensor | None, bool]:
    """Move the numbers of a cell to the last axis; return them, and True if one is objectness."""
    _, first, second = tensor.shape
    if first == second:
        raise UsageError(
            f"the output [N, {first}, {second}] fits two readings, [N, 4+C, A] and [N, A, 5+C]: "
            "use an image of another size"
        )
    by_column = first < second
    columns = tensor.transpose(1, 2) if by_column else tensor
    count = columns.shape[-1]
    if classes is None:
        objectness = not by_column
    elif count in (4 + classes, 5 + classes):
        objectness = count == 5 + classes
    else:
        raise UsageError(
            f"the detector gives {count} numbers for each box, and there are {classes} classes: "
            f"expected {4 + classes}, or {5 + classes} with the chance of any object: give the "
            "names with --labels"
        )
    return (columns if count >= 5 + objectness else None), objectness


def _are_chances(scores: Tensor) -> bool:
    return bool(((scores >= 0) & (scores <= 1)).all())


def _form_of(boxes: Tensor, size: Size) -> str:
    """Find the form under which the boxes lie in the input.

    Raises:
        UsageError: none stands out.
    """
    outside = {
        form: int((~_inside(_corners(boxes.detach(), form, size), size)).sum())
        for form in BOX_FORMS
    }
    first, second, *_ = sorted(BOX_FORMS, key=lambda form: outside[form])
    count = boxes[..., 0].numel()
    if outside[first] <= MOST_OUTSIDE * count and outside[second] > CLEARLY * outside[first]:
        return first
    shown = ", ".join(f"{outside[form]} as {form}" for form in BOX_FORMS)
    raise UsageError(
        f"the form of the detector's boxes cannot be told: of {count}, those not in the image are "
        f"{shown}: give it with --boxes"
    )


def _inside(corners: Tensor, size: Size) -> Tensor:
    low, high = corners[..., :2], corners[..., 2:]
    sides = corners.new_tensor(size)
    room = _MARGIN * sides
    fits = (low < high) & (low >= -room) & (high <= sides + room)
    return fits.all(-1)


def _corners(boxes: Tensor, form: str, size: Size) -> Tensor:
    """Convert boxes of any form to x0, y0, x1, y1 in pixels of the input.

    Boxes of which no number is above `NORMALISED` are shares of the input.
    """
    first, second = boxes[..., :2], boxes[..., 2:]
    if form == "cxcywh":
        first, second = first - second / 2, first + second / 2
    elif form == "xywh":
        second = first + second
    corners = torch.cat([first, second], -1)
    if float(boxes.detach().abs().max()) <= NORMALISED:
        corners = corners * corners.new_tensor([*size, *size])
    return corners


DETECTORS: dict[str, Detector] = {
    detector.name: detector
    for detector in (
        Detector(
            "queries",
            "`logits` [N, Q, C] and `pred_boxes` [N, Q, 4] (DETR, YOLOS)",
            _queries,
            _logits_key,
        ),
        Detector(
            "chosen",
            "a list of `boxes`, `labels` and `scores` for each image (torchvision)",
            _chosen,
            _chosen_scores,
        ),
        Detector("cells", "one tensor [N, 4+C, A] or [N, A, 5+C] (YOLO)", _cells, _cells_path),
    )
}
"""Every layout of a detector's output, by name, in the order in which they are tried."""
