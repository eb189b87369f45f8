"""The branches of a detector through which no gradient passes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gradviz.backward.detached import DetachWatch, Origins
from gradviz.errors import SeedError
from gradviz.model.model import Model
from gradviz.seeds.seed import Seed
from gradviz.text import listed

MOST_BRANCHES = 4
"""The most modules that a message names."""


@dataclass(frozen=True)
class Branches:
    """The findings about the gradients of a detector's boxes and scores."""

    moving: bool
    """True if the model chooses among its boxes, so that another input gives other rows."""
    attached: dict[str, bool]
    """True if a gradient leads back to the image, for `boxes` and for `scores`."""
    origins: dict[str, Origins]
    """The modules in which values were cut off that `boxes` and `scores` depend on."""

    def notes(self, seed: Seed) -> tuple[str, ...]:
        """Return the warnings about branches that are left out of a seed's gradient."""
        return tuple(
            f"the {asked} may also depend on a branch that the model detaches, in "
            f"{_named(self.origins[asked])}: the gradient is that of the other branches alone"
            for asked in seed.asked
            if self.origins[asked]
        )

    def check(self, seed: Seed, several: bool) -> None:
        """Check that a seed's gradient can be computed.

        Args:
            seed: a seed on detections.
            several: True if the method moves through inputs.

        Raises:
            SeedError: what it asks for is detached, or is another box at another input.
        """
        for asked in (each for each in seed.asked if not self.attached[each]):
            where = f", in {_named(self.origins[asked])}" if self.origins[asked] else ""
            raise SeedError(
                f"seed {seed.spec}: the model detaches its {asked}{where}: no gradient leads from "
                "them back to the image; ask for the others"
            )
        if several and self.moving:
            raise SeedError(
                f"seed {seed.spec}: the model chooses among its boxes, so that other points than "
                "the image have others; use a --method that stays at the image"
            )


def branches_of(model: Model, x: Tensor) -> Branches | None:
    """Look for detached branches in one forward pass of a detector.

    Args:
        model: the detector.
        x: an input [1, C, H, W].

    Returns:
        the findings; None if it suggests no box for this input, which shows nothing.
    """
    watch = DetachWatch()
    with watch, watch.naming(model.module):
        found = model.detections(x.detach().requires_grad_())
    if not found.values.numel():
        return None
    parts = {"scores": found.values, "boxes": found.boxes}
    return Branches(
        found.moving,
        {name: part.requires_grad for name, part in parts.items()},
        {name: watch.origins_of(part) for name, part in parts.items()},
    )


def _named(origins: Origins) -> str:
    return listed(sorted(origins), MOST_BRANCHES)
