"""From a run's settings to what the pass needs of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gradviz.backward.baselines import parse_baseline
from gradviz.backward.methods import METHODS, Method
from gradviz.backward.points import POINTS, Points, Sampling
from gradviz.run.settings import SAMPLING, Settings


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

    @property
    def points(self) -> Points:
        """The method's row of the table of points."""
        return POINTS[self.method.points]

    @property
    def arrays(self) -> list[str]:
        """The names of the arrays that each result has."""
        beside = [] if self.layer is None else ["activation", "gradient"]
        return list(dict.fromkeys([self.method.writes, *beside]))

    @property
    def file(self) -> Path | None:
        """The baseline's file, if it has one."""
        return self.sampling.baseline.file


def plan_of(settings: Settings) -> Plan:
    """What the settings ask for.

    Raises:
        UsageError: the baseline cannot be read.
    """
    method = METHODS[settings.method]
    chosen = {name: getattr(settings, name) for name in SAMPLING}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if settings.baseline is not None:
        given["baseline"] = parse_baseline(settings.baseline)
    sampling = replace(Sampling(POINTS[method.points].samples), **given)
    return Plan(method, settings.layer, sampling, settings.batch_size)
