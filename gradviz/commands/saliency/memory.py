"""The findings and passes that explainers of one model keep between questions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradviz.arrays import Size
from gradviz.commands.saliency.attribute import Forward
from gradviz.field.locality import Locality
from gradviz.field.probe import Probe, random_probes
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import Prepared
from gradviz.model.model import Model
from gradviz.model.random_input import RandomInput


@dataclass(eq=False)
class Memory:
    """The memory of explainers that are asked about one model again and again."""

    largest: int = 0
    """The most pixels of images whose forward pass is kept; 0 to keep none."""
    _localities: dict[tuple[bool, int], Locality] = field(default_factory=dict)
    _key: Hashable = None
    _forward: Forward | None = None

    def locality(self, model: Model, image: Prepared) -> Locality:
        """Return what is known of the model's parts for images with this number of channels."""
        key = (model.detects, image.shape[0])
        if key not in self._localities:
            channels, recipe = image.shape[0], image.preprocess

            def probe_at(size: Size) -> Probe:
                # The same numbers for a size, whatever was tried before.
                random = RandomInput(recipe, channels, np.random.default_rng(0))
                return random_probes(model, random)(size)

            self._localities[key] = Locality(model, channels, probe_at)
        return self._localities[key]

    def forward(
        self, images: Sequence[LoadedImage], key: Hashable, run: Callable[[], Forward]
    ) -> Forward:
        """Return the last forward pass if it was this one; else run it, and keep it if it is small.

        Args:
            images: the images.
            key: whatever else tells passes apart.
            run: runs the pass.
        """
        kept = self._forward
        if kept is not None and self._key == key and _same(kept.images, images):
            return kept
        self.forget()
        made = run()
        if sum(image.prepared.tensor[0].numel() for image in images) <= self.largest:
            self._key, self._forward = key, made
        return made

    def keeps(self, forward: Forward) -> bool:
        """Return True if a pass is kept, and its graph with it."""
        return forward is self._forward

    def forget(self) -> None:
        """Let go of the forward pass that is kept."""
        self._key, self._forward = None, None


def _same(one: Sequence[LoadedImage], other: Sequence[LoadedImage]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
