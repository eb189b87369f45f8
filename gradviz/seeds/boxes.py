"""Seeds on boxes: which detection is asked, and which of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradviz.detections import LABEL, SCORE, VALUE
from gradviz.errors import SeedError
from gradviz.seeds.class_names import class_index
from gradviz.seeds.places import Site
from gradviz.seeds.suppression import DEFAULT_RULE, survivors
from gradviz.text import listed

if TYPE_CHECKING:
    from torch import Tensor

Edges = tuple[float, float, float, float]
"""x0, y0, x1, y1 of a box in pixels, not rounded."""

BOX_NUMBERS: dict[str, Edges] = {
    "x0": (1, 0, 0, 0),
    "y0": (0, 1, 0, 0),
    "x1": (0, 0, 1, 0),
    "y1": (0, 0, 0, 1),
    "cx": (0.5, 0, 0.5, 0),
    "cy": (0, 0.5, 0, 0.5),
    "w": (-1, 0, 1, 0),
    "h": (0, -1, 0, 1),
}
"""The numbers of a box that a seed can ask for, each as weights of x0, y0, x1, y1."""


@dataclass(frozen=True)
class Detection:
    """A box that was asked about, and what the model gives it."""

    index: int
    """The number of its class, from 0."""
    label: str | None
    """The name of the class; None if the model has no labels for it."""
    score: float
    """The probability that the model gives the class, from 0 to 1."""
    box: Edges | None
    """Its box in pixels of the image file; None if nothing says where the input lies in it."""
    box_in_input: Edges
    """Its box in pixels of the input."""


MOST_DETECTIONS = 5
"""The most detections that a message lists."""


def every(rows: Tensor, site: Site) -> list[int]:
    """Find all detections.

    Args:
        rows: packed detections [K, 7].
        site: the labels and the rule of suppression.

    Returns:
        the numbers of their rows, by falling score.

    Raises:
        SeedError: there is none.
    """
    found = _kept(rows, site)
    if not found:
        raise SeedError(f"there is no detection: {_listed(rows, site, found)}")
    return found


def numbered(
    rows: Tensor, site: Site, place: int | tuple[int, int], side: str | None = None
) -> list[int]:
    """Find the N-th detection by falling score, from 0, or the best over a pixel of the image file.

    Args:
        rows: packed detections [K, 7].
        site: the image, the labels and the rule of suppression.
        place: N, or x and y.
        side: the number of the box that is asked, which does not change the row.

    Returns:
        the number of its row, alone.

    Raises:
        SeedError: there is no such detection; the message lists those that there are.
    """
    found = _kept(rows, site)
    if isinstance(place, int):
        if not 0 <= place < len(found):
            raise SeedError(f"there is no detection {place}: {_listed(rows, site, found)}")
        return [found[place]]
    if site.frame is None:
        raise SeedError("a bare tensor has no image file; use box:N")
    x, y = place
    u, v = site.frame.to_input(x, y)
    for row in found:
        x0, y0, x1, y1 = rows[row, :4].tolist()
        if x0 <= u < x1 and y0 <= v < y1:
            return [row]
    raise SeedError(f"no detection lies over {x},{y}: {_listed(rows, site, found)}")


def best_of_class(rows: Tensor, site: Site, name: int | str) -> list[int]:
    """Find the best detection of a class.

    Args:
        rows: packed detections [K, 7].
        site: the image, the labels and the rule of suppression.
        name: the number of the class, or its name.

    Returns:
        the number of its row, alone.

    Raises:
        SeedError: there is none, or no such class.
    """
    index = name if isinstance(name, int) else class_index(name, site.labels)
    found = _kept(rows, site)
    for row in found:
        if int(rows[row, LABEL]) == index:
            return [row]
    raise SeedError(f"there is no detection of class {index}: {_listed(rows, site, found)}")


def weights_of(rows: Tensor, chosen: Sequence[int], side: str | None = None) -> Tensor:
    """Make the cotangent of one number of each of some detections.

    Args:
        rows: packed detections [K, 7].
        chosen: the numbers of their rows.
        side: a name of `BOX_NUMBERS`; None for the number that the model gives its class.
    """
    v = rows.new_zeros(rows.shape)
    if side is None:
        v[list(chosen), VALUE] = 1.0
    else:
        v[list(chosen), :4] = rows.new_tensor(BOX_NUMBERS[side])
    return v


def detection_at(rows: Tensor, row: int, site: Site) -> Detection:
    """Describe the detection in a row.

    Args:
        rows: packed detections [K, 7].
        row: the number of its row.
        site: the image and the labels.
    """
    index = int(rows[row, LABEL])
    x0, y0, x1, y1 = rows[row, :4].double().tolist()
    box = None
    if site.frame is not None and site.frame.maker is None:
        box = (*site.frame.to_image(x0, y0), *site.frame.to_image(x1, y1))
    return Detection(
        index=index,
        label=site.labels[index] if index < len(site.labels) else None,
        score=float(rows[row, SCORE]),
        box=box,
        box_in_input=(x0, y0, x1, y1),
    )


def _kept(rows: Tensor, site: Site) -> list[int]:
    return survivors(rows, site.suppression or DEFAULT_RULE)


def _listed(rows: Tensor, site: Site, found: list[int]) -> str:
    """List detections for a message; if there are none, say what is nearest to one."""
    rule = site.suppression or DEFAULT_RULE
    if not found:
        nearest = "".join(f"; the highest is {_phrase(rows, row, site)}" for row in _best(rows))
        return f"none has a score of {rule.score:g} or more{nearest}; see --box-score"
    names = [_phrase(rows, row, site) for row in found]
    return f"there are {len(found)}, by score from 0: {listed(names, MOST_DETECTIONS)}"


def _best(rows: Tensor) -> list[int]:
    scores = rows[:, SCORE]
    return [int(scores.argmax())] if len(rows) and float(scores.max()) > 0 else []


def _phrase(rows: Tensor, row: int, site: Site) -> str:
    found = detection_at(rows, row, site)
    box = ",".join(f"{side:.0f}" for side in found.box or found.box_in_input)
    return f"{found.label or f'class {found.index}'} {found.score:.2f} at {box}"
