"""The check that a model's answer to an image depends on that image alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from gradviz.errors import MemoryShort, ModelError
from gradviz.model.model import Model
from gradviz.model.outputs import difference

LARGE = 1 << 20
"""The largest number of pixels of a single image for which one more run of the model is
acceptable."""

MOST_ALONE = 8
"""The most images of a batch that are run alone once more."""


class Independence:
    """The findings of a run about one model: its steadiness, and its mixing of a batch's images.

    If a model answers differently when it is called again, a gradient holds for one call only. If
    the other images of a batch change the answer, a gradient is not that of one image.
    """

    def __init__(self) -> None:
        """Begin with nothing found out."""
        self.notes: tuple[str, ...] = ()
        """The warnings that every result must have."""
        self.mixes = False
        """True if the images of a batch change each other's answers."""
        self._steady_known = self._mixing_known = False

    def look(self, model: Model, x: Tensor, y: Tensor, together: int) -> None:
        """Run some images of a batch again, each alone, if the result is still unknown.

        Random numbers continue from their present state, so a model that draws them draws others. A
        model that does not take one image alone is not judged; a warning is given.

        Args:
            model: the model, or a faster form of it.
            x: [N, C, H, W], without a gradient.
            y: [N, ...], the model's answer to x.
            together: the number of inputs that share a pass: images, or samples of one image.

        Raises:
            MemoryShort: there is too little memory; the next call tries again.
        """
        single = len(x) == 1 and x[:, 0].numel() > LARGE
        if single or self._mixing_known or (together == 1 and self._steady_known):
            return
        try:
            changes = [*self._alone(model, x, y, together)]
        except MemoryShort:
            raise
        except ModelError:
            self.notes = (_UNTESTED,) if len(x) > 1 else ()
        else:
            if changes:
                self._blame(model, x, y, changes)
        self._steady_known, self._mixing_known = True, together > 1

    def _alone(self, model: Model, x: Tensor, y: Tensor, together: int) -> Iterator[str]:
        """Yield how the answer to an image changes without the others, or beside another."""
        if len(x) == 1 and together > 1:
            # Beside a second input whose mean and range are others.
            again = [model(torch.cat([x, 2 * x.flip(-1)]))[:1]]
        else:
            again = [model(x[n : n + 1]) for n in range(min(len(x), MOST_ALONE))]
        for n, answer in enumerate(again):
            if (change := difference(y[n : n + 1], answer)) is not None:
                yield change

    def _blame(self, model: Model, x: Tensor, y: Tensor, changes: Sequence[str]) -> None:
        """Tell a model that answers differently each time from one that mixes a batch."""
        if (change := difference(y, model(x))) is not None:
            self.notes = (_UNSTEADY.format(change),)
        elif model(x[:1]).shape[1:] != y.shape[1:]:
            self.notes = (_UNTESTED,)
        else:
            self.mixes = True
            self.notes = (_MIXED.format(changes[0]),)


_MIXED = (
    "the images of a batch change each other's answers: {}; so each is computed alone: call eval() "
    "before saving the model, or look for statistics over the batch"
)
_UNSTEADY = (
    "the model answers otherwise when it is called again: {}; the gradient is that of one call: "
    "call eval() before saving the model, and look for what it draws or remembers"
)
_UNTESTED = (
    "the model does not take one image of the batch alone, so it is unknown if the images change "
    "each other's answers: compare with --batch-size 1"
)
