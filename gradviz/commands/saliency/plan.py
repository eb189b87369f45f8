"""From a run's settings to what the pass needs of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradviz.backward.integrated_gradients import parse_baseline
from gradviz.backward.methods import METHODS, Method
from gradviz.backward.sampling import POINTS, Points, Sampling
from gradviz.commands.saliency.settings import SAMPLING, Settings, Tile

MANY = 8
"""Passes for one image each, from which on a faster form of the model pays."""


Tick = Callable[[int], object]


def silent(points: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Plan:
    """A method, with all that it is to be done with."""

    method: Method
    layer: str | None
    """The layer that the user named."""
    sampling: Sampling
    """Which points, where the method takes several."""
    batch_size: int
    """Images, or samples of one image, per pass."""
    tile: Tile = "auto"
    """How images are computed in parts."""
    optimize: bool = True
    """Whether the model may take a faster form."""
    tick: Tick = silent
    """Is told how many points of an image are done, where a method takes several."""

    @property
    def points(self) -> Points:
        """The method's row of the table of points."""
        return POINTS[self.method.points]

    @property
    def gated(self) -> bool:
        """Whether a rule holds at activations, so that the result is not linear in the seed."""
        return any(each.rule != "plain" for each in self.method.passes)

    @property
    def apart(self) -> bool:
        """Whether parts of an image can be computed apart: all is read at the image itself."""
        return self.method.points == "image" and self.at_input

    def fast(self, images: int) -> bool:
        """Whether a faster form of the model is right for the method, and pays for so many images:
        rules and taps need the layers as they are, and making it costs as much as a few passes."""
        passes = images * (self.sampling.samples or MANY)
        return self.optimize and passes >= MANY and not self.gated and self.at_input

    @property
    def at_input(self) -> bool:
        """Whether all is read at the input."""
        return all(each.tap == "input" for each in self.method.passes_at(self.layer))

    @property
    def arrays(self) -> list[str]:
        """The names of the arrays that each result has."""
        beside = [] if self.layer is None else ["activation", "gradient"]
        return list(dict.fromkeys([self.method.writes, *beside]))

    @property
    def file(self) -> Path | None:
        """The baseline's file, if it has one."""
        return self.sampling.baseline.file


def plan_of(settings: Settings, tick: Tick = silent) -> Plan:
    """What the settings ask for.

    Raises:
        UsageError: the baseline cannot be read.
    """
    method = METHODS[settings.method]
    chosen = {name: getattr(settings, name) for name in SAMPLING}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if settings.baseline is not None:
        given["baseline"] = parse_baseline(settings.baseline)
    return Plan(
        method,
        settings.layer,
        replace(Sampling(POINTS[method.points].samples), **given),
        settings.batch_size,
        settings.tile,
        settings.optimize,
        tick,
    )
