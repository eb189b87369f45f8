"""The mean of the fields of one output pixel at several images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradviz.arrays import Doubles, Mask
from gradviz.commands.receptive_field.measure import Field
from gradviz.heatmap.colours import GRAY
from gradviz.runs.names import MEAN
from gradviz.text import listed

_MOST_NAMED = 3
"""The most images that a warning names; the others are counted."""


@dataclass(frozen=True, eq=False)
class RunningMean:
    """One output pixel's field, averaged over several images.

    The effective fields are averaged, the local ones united. Images whose size differs from the
    first one's are left out.
    """

    first: Field
    count: int
    local: Mask
    energy: Doubles
    contribution: Doubles
    """The sum over the images."""
    left_out: tuple[str, ...] = ()
    """The names of the images that are left out."""

    @classmethod
    def of(cls, field: Field, before: RunningMean | None) -> RunningMean:
        """Add one image to the mean of those before.

        Args:
            field: the field at that image.
            before: the mean so far; None for the first image.
        """
        if before is None:
            return cls(field, 1, field.local, field.energy, field.contribution)
        if field.energy.shape != before.energy.shape:
            return replace(before, left_out=(*before.left_out, field.image))
        return cls(
            before.first,
            before.count + 1,
            before.local | field.local,
            before.energy + field.energy,
            before.contribution + field.contribution,
            before.left_out,
        )

    def field(self) -> Field:
        """Return the mean as a field, over an even gray."""
        return replace(
            self.first,
            image=MEAN,
            shown=np.full((*self.energy.shape, 3), GRAY, np.uint8),
            frame=None,
            notes=(
                (
                    f"of another size than {self.first.image}, and left out: "
                    f"{listed(self.left_out, _MOST_NAMED)}",
                )
                if self.left_out
                else ()
            ),
            local=self.local,
            energy=self.energy / self.count,
            contribution=self.contribution / self.count,
        )
