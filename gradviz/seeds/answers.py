"""Answers: classes that a model gives an image, with the score and the share of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 1e-4
"""The largest distance from 1 of the sum of probabilities in float32."""


@dataclass(frozen=True)
class Answer:
    """A class that was asked about, and what the model gives it."""

    index: int
    """The number of the class, from 0."""
    label: str | None
    """The name of the class; None if the model has no labels for it."""
    score: float
    """The output value of the class, as the model gives it; its sum over a dense map."""
    share: float | None
    """The share of the class among all classes, from 0 to 1: see `shares`. None for dense maps, and
    if each score is a probability of its own."""


def answer_for(planes: Tensor, index: int, labels: Sequence[str], apart: bool = False) -> Answer:
    """Describe what an output holds for a class.

    Args:
        planes: one image's output, [C, H, W].
        index: the number of the class, from 0.
        labels: the names of the classes, in order; may be fewer than there are.
        apart: True if each score is a probability of its own.
    """
    found = None if apart or planes[0].numel() != 1 else shares(planes.flatten())
    share = math.nan if found is None else float(found[index])
    return Answer(
        index=index,
        label=labels[index] if index < len(labels) else None,
        score=float(planes[index].double().sum()),
        share=share if math.isfinite(share) else None,
    )


MOST_FIRST = 5
"""The most classes that are listed of those that rank first."""


def first_answers(scores: Tensor, labels: Sequence[str], apart: bool = False) -> list[Answer]:
    """Describe the classes that rank first.

    Args:
        scores: one image's class scores, [C].
        labels: the names of the classes, in order.
        apart: True if each score is a probability of its own.

    Returns:
        the answers, by falling score.
    """
    planes = scores[:, None, None]
    first = ranked(planes)[:MOST_FIRST].flatten()
    return [answer_for(planes, int(index), labels, apart) for index in first]


def ranked(planes: Tensor) -> Tensor:
    """Sort the channels of an output by falling value, at each place.

    Args:
        planes: [C, H, W].

    Returns:
        the numbers of the channels, [C, H, W]. Equal values rank by their number on every machine.
    """
    return planes.argsort(dim=0, descending=True, stable=True)


def shares(scores: Tensor) -> Tensor | None:
    """Compute the share of each class: the softmax of the scores, in float64.

    Scores that are probabilities already are their own shares.

    Args:
        scores: one image's class scores, [C].

    Returns:
        [C], float64, on the CPU; None for a single score, which has nothing to be shared with.
    """
    if len(scores) < 2:
        return None
    exact = scores.detach().cpu().double()
    return exact if are_probabilities(scores) else exact.softmax(0)


def are_probabilities(planes: Tensor) -> bool:
    """Return True if the channels are probabilities: not negative, and 1 in total at each place.

    Args:
        planes: [C] or [C, H, W], C above 1.
    """
    import torch

    exact = planes.double()
    rounding = max(ROUNDING, torch.finfo(planes.dtype).eps)
    return bool((exact >= 0).all() and ((exact.sum(0) - 1).abs() <= rounding).all())


def label_warnings(classes: int, labels: Sequence[str]) -> tuple[str, ...]:
    """Warn if there are not as many labels as classes.

    Args:
        classes: the number of the model's classes.
        labels: their names; empty if they are not known.
    """
    if not labels or len(labels) == classes:
        return ()
    return (
        f"the model has {classes} classes and {len(labels)} labels, so a label may be that of "
        "another class; give the model's own with --labels FILE",
    )
