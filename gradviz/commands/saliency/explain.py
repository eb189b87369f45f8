"""The engine: images and seeds in, attributions out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradviz.backward.activations import ActivationRecorder
from gradviz.backward.layers import find_layer, last_map, run_with_layers
from gradviz.commands.saliency.attribute import Forward, at_images, at_points
from gradviz.commands.saliency.result import Attribution, Outcome, failures
from gradviz.commands.saliency.settings import Settings
from gradviz.commands.saliency.tiled import Allocate, TilePlan, Tiler, in_memory
from gradviz.errors import LayerError, MemoryShort, ModelError, SeedError, UsageError
from gradviz.image.load import LoadedImage
from gradviz.model.fast import optimised
from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model, deterministic
from gradviz.model.outputs import difference
from gradviz.runs.results import Failure
from gradviz.seeds.places import Site
from gradviz.seeds.seed import Seed, default_seed
from gradviz.text import listed

TRIAL = 1024
"""The longest side, in pixels, of what the faster form of a model is tried on."""

LARGE = 1 << 20
"""Pixels of a batch above which running the model once more would take too long."""


@dataclass(frozen=True)
class Work:
    """Images of one size that share a forward pass, and the seeds still to be computed for them."""

    images: tuple[LoadedImage, ...]
    seeds: tuple[Seed, ...]
    """Empty for the default of the model's output."""
    notes: tuple[str, ...] = ()
    """What a reader of all the results must know."""

    def smaller(self, error: ModelError | LayerError) -> list[Work]:
        """The same work in smaller groups: halves if memory was short, else image by image."""
        size, notes = 1, self.notes
        if isinstance(error, MemoryShort):
            size = (len(self.images) + 1) // 2
            notes = (
                f"memory was short for {len(self.images)} images at once: computed by {size}, "
                "which rounds differently",
            )
        return [
            Work(self.images[start : start + size], self.seeds, notes)
            for start in range(0, len(self.images), size)
        ]


class Explainer:
    """Computes attributions with one model, and remembers what it learns about that model."""

    def __init__(
        self,
        model: Model,
        settings: Settings,
        allocate: Allocate = in_memory,
        speed_up: bool = False,
        on_progress: Callable[[int], object] = lambda points: None,
    ) -> None:
        """Take a model and the choices of a run.

        Args:
            model: what is differentiated.
            settings: the method and its options.
            allocate: makes the arrays in which gradients of tiled images are put together.
            speed_up: whether a faster form of the model pays, if it has one.
            on_progress: takes the number of points done for the image in hand, if the method takes
                several.
        """
        self._model = model
        self._settings = settings
        self._tiler = Tiler(model, settings)
        self._allocate = allocate
        self._speed_up = speed_up
        self._on_progress = on_progress
        self._unsteady: tuple[str, ...] | None = None

    def outcomes(self, images: Sequence[LoadedImage], seeds: Sequence[Seed]) -> Iterator[Outcome]:
        """Compute one outcome for every image and seed, and yield each as soon as it is there.

        Images of one size share a forward pass, and all seeds share it too. Without seeds, the
        default for the output's layout is taken. An image that a seed does not fit fails for that
        seed alone.

        Raises:
            UsageError: the model has several outputs, and none was named; or the layer that was
                named is not there.
        """
        self._try_faster(images)
        by_size: defaultdict[tuple[int, ...], list[LoadedImage]] = defaultdict(list)
        for image in images:
            by_size[image.prepared.shape].append(image)
        for group in by_size.values():
            try:
                steps = self._tiler.plan(group, seeds)
            except UsageError as error:
                yield from (each for image in group for each in failures(image.name, seeds, error))
                continue
            for step in steps:
                if isinstance(step, TilePlan):
                    yield step.outcome(self._model, self._settings, self._allocate)
                else:
                    yield from self._whole(Work(tuple(group), step.seeds))

    def _try_faster(self, images: Sequence[LoadedImage]) -> None:
        """Take the faster form of the model if it is wanted and agrees on the first image.

        An image that the model cannot take proves nothing, so the next batch is tried.
        """
        if self._speed_up and images:
            _, height, width = images[0].prepared.shape
            corner = images[0].prepared.part((0, 0, min(width, TRIAL), min(height, TRIAL)))
            with suppress(ModelError):
                self._model = optimised(
                    self._model, corner[None].to(self._model.device, self._model.dtype)
                )
                self._speed_up = False

    def _whole(self, work: Work) -> Iterator[Outcome]:
        """Compute whole images in one pass, and in smaller groups if that fails."""
        waiting = [work]
        while waiting:
            work = waiting.pop()
            done = 0
            try:
                for found in self._by_seed(work):
                    yield from found
                    done += 1
            except (ModelError, LayerError) as error:
                left = replace(work, seeds=work.seeds[done:])
                if len(left.images) == 1:
                    yield from failures(left.images[0].name, left.seeds, error)
                else:
                    # Computed after this block: the error holds on to the memory of the pass.
                    waiting += reversed(left.smaller(error))

    def _by_seed(self, work: Work) -> Iterator[list[Outcome]]:
        """Yield the outcomes of all images, seed by seed, from one forward pass.

        Raises:
            ModelError: the model fails, or memory is short in the backward pass of a seed.
        """
        with foreign_code(f"{self._model.name}: the input cannot be made"):  # of memory's size
            x = torch.stack([image.prepared.tensor for image in work.images])
            if self._model.device.type == "cuda":  # copied while the device works on another batch
                x = x.pin_memory()
            x = x.to(self._model.device, self._model.dtype, non_blocking=True)
        # What draws random numbers draws the same ones for this batch in every run.
        with deterministic():
            forward = self._forward(work.images, x)
            notes = work.notes + self._steadiness(x.detach(), forward.y.detach())
            seeds = work.seeds or (default_seed(forward.y.detach()[0]),)
            for place, seed in enumerate(seeds):
                this = Work(work.images, (seed,), notes)
                yield self._under_seed(this, forward, retain_graph=place < len(seeds) - 1)

    def _forward(self, images: Sequence[LoadedImage], x: Tensor) -> Forward:
        settings, model = self._settings, self._model
        if settings.points.sampler is not None:  # then gradients are taken elsewhere
            return Forward(images, x, model(x))
        x.requires_grad_()
        if settings.reads_input:
            return Forward(images, x, model(x))
        y, layers = run_with_layers(
            model.module, lambda: model(x), ActivationRecorder(model.module)
        )
        layer = (
            last_map(layers, y) if settings.layer is None else find_layer(layers, settings.layer)
        )
        if settings.chosen_method.needs_layer and not layer.spatial:
            lacks = "has its channels last" if layer.channels_last else "has no spatial extent"
            maps = [each.name for each in reversed(layers.values()) if each.spatial]
            raise LayerError(
                f"--layer {layer.name}: its output {list(layer.shape)} {lacks}, and "
                f"{settings.method} needs a map [N, C, H, W], as in {listed(maps, 8) or 'no layer'}"
            )
        batch = model.batch or len(x)
        # Tokens may come as [T, N, C], which cannot be told where there are as many as images.
        if layer.shape[0] != batch or (len(layer.shape) == 3 and layer.shape[1] == batch > 1):
            raise LayerError(
                f"--layer {layer.name}: its output {list(layer.shape)} is not one for each image: "
                "name another layer"
            )
        return Forward(images, x, y, layer)

    def _under_seed(self, work: Work, forward: Forward, retain_graph: bool) -> list[Outcome]:
        """The outcomes of all images under the one seed of `work`."""
        (seed,) = work.seeds
        output = forward.y.detach()
        v = torch.zeros_like(output)
        misfits: dict[int, SeedError] = {}
        for n, image in enumerate(work.images):
            try:
                v[n] = seed.cotangent(output[n], Site(image.prepared.frame, self._model.labels))
            except SeedError as error:
                misfits[n] = error
        try:
            found = self._found(forward, seed, v, retain_graph)
        except MemoryShort:
            raise
        except (ModelError, UsageError) as error:
            if len(work.images) == 1:
                return [Failure(work.images[0].name, seed.spec, error)]
            alone = (Work((image,), work.seeds, work.notes) for image in work.images)
            return [outcome for each in alone for outcome in self._whole(each)]
        return [
            Failure(each.image, seed.spec, misfits[n])
            if n in misfits
            # Images that are tried again have some notes twice.
            else replace(each, notes=tuple(dict.fromkeys(each.notes + work.notes)))
            for n, each in enumerate(found)
        ]

    def _found(
        self, forward: Forward, seed: Seed, v: Tensor, retain_graph: bool
    ) -> list[Attribution]:
        """Apply the method to each image, at the image itself or at points around it."""
        settings, model = self._settings, self._model
        with foreign_code(f"{model.name}: the backward pass failed"):
            if settings.points.sampler is None:
                return at_images(forward, seed.spec, v, settings, retain_graph)
            return [
                at_points(
                    model,
                    Forward((image,), forward.x[n : n + 1], forward.y[n : n + 1]),
                    seed.spec,
                    v[n : n + 1],
                    settings,
                    self._on_progress,
                )
                for n, image in enumerate(forward.images)
            ]

    def _steadiness(self, x: Tensor, y: Tensor) -> tuple[str, ...]:
        """Warn if the model gives another answer when it is called again: a gradient then holds for
        one call only. The first batch that is small enough decides for the whole run.

        Random numbers continue where they are, so a model that draws them draws others.

        Args:
            x: [N, C, H, W], without a gradient.
            y: [N, ...], the model's answer to x.

        Raises:
            ModelError: the model fails when it is called again.
        """
        if self._unsteady is None and x[:, 0].numel() <= LARGE:
            change = difference(y, self._model(x))
            self._unsteady = () if change is None else (_UNSTEADY.format(change),)
        return self._unsteady or ()


_UNSTEADY = (
    "the model answers otherwise when it is called again: {}; the gradient is that of one call: "
    "call eval() before saving the model, and look for what it draws or remembers"
)
