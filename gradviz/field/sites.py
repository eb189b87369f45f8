"""The places of seeds in images: `at:X,Y` is found by the measured fields of output pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from gradviz.field.axis import Axis
from gradviz.field.geometry import bounded_axis
from gradviz.image.frame import Frame
from gradviz.image.prepare import Prepared
from gradviz.model.model import Model
from gradviz.seeds.places import Centres, Site
from gradviz.seeds.seed import Seed
from gradviz.seeds.suppression import DEFAULT_RULE, Suppression

BY_PROPORTION = (
    "where the field of an output pixel lies is not known: the pixel of `at` is taken by "
    "proportion, as if the output covered the image evenly"
)
"""The warning about a place that is found otherwise."""


def site_of(
    model: Model,
    image: Prepared,
    seed: Seed,
    field_along: Callable[[int], Axis | None] | None = None,
) -> Site:
    """Find the place of a seed in an image; for `at`, with the centres of the fields.

    Args:
        model: the model.
        image: the image.
        seed: the seed.
        field_along: the field along axis 0 (x) or 1 (y), if that is kept: then with the centres for
            every seed that has a place, which is to be marked; None to measure it.
    """
    if not seed.has("at") and (field_along is None or not seed.of_places):
        return Site(image.frame, model.labels, suppression=suppression_of(model))
    field_along = field_along or partial(bounded_axis, model, image.shape[0])
    return replace(placed(image.frame, field_along(0), field_along(1)), labels=model.labels)


def suppression_of(model: Model, chosen: Suppression | None = None) -> Suppression | None:
    """Return the rule by which a detector's boxes are chosen; None if the model is none.

    Args:
        model: the model.
        chosen: the rule that the user chose, if any.
    """
    return (chosen or DEFAULT_RULE) if model.detects else None


def placed(frame: Frame, x: Axis | None, y: Axis | None) -> Site:
    """Describe where output pixels lie in an image.

    Args:
        frame: the map between the pixels of the file and the input's.
        x: the horizontal axis of their fields; None if it is not bounded.
        y: the vertical axis, likewise.
    """
    if x is None or y is None:
        return Site(frame)
    return Site(frame, centres=(Centres(x.centre, x.stride), Centres(y.centre, y.stride)))


def notes_on(seed: Seed, site: Site) -> tuple[str, ...]:
    """Return the warnings about the place of a seed."""
    return (BY_PROPORTION,) if seed.has("at") and site.centres is None else ()
