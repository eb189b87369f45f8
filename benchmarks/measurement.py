"""What a benchmark finds: one measurement, what it is compared with, and what is wanted of it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Measurement:
    """One measurement; a ratio where its unit is ×."""

    what: str
    """What was measured."""
    against: str
    """What it is a ratio to, or is to be read beside; empty for nothing."""
    values: tuple[float, ...]
    """Of each round, never empty."""
    unit: str
    """×, s, GiB, images/s, …; empty for a plain number."""
    least: float | None = None
    """What it is to reach, if anything."""
    most: float | None = None
    """What it is not to exceed, if anything."""
    remark: str = ""
    """What a reader must know to judge it."""

    @property
    def value(self) -> float:
        """The median over the rounds."""
        return median(self.values)

    @property
    def wanted(self) -> str:
        """The bounds in words; empty where there is none."""
        bounds = {"at least": self.least, "at most": self.most}
        return ", ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)

    @property
    def holds(self) -> bool | None:
        """Whether the value is within the bounds; None where there is none."""
        if not self.wanted:
            return None
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )

    @property
    def measured(self) -> str:
        """The value with its unit, three digits long."""
        value = f"{self.value:.0f}" if abs(self.value) >= 100 else f"{self.value:.3g}"
        return f"{value} {self.unit}".strip()


class NotHere(Exception):
    """What a benchmark needs is not on this machine."""
