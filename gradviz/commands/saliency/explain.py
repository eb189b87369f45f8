"""The engine: computes attributions from images and seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from gradviz.backward.cam_layer import CamLayer, cam_layer
from gradviz.backward.graph import is_of_sigmoid
from gradviz.backward.layer_outputs import ActivationRecorder
from gradviz.backward.layers import find_layer, names_operation, run_with_layers
from gradviz.backward.relevance.hand_back import recorder
from gradviz.commands.saliency.answered import Answered, answered, channels_of
from gradviz.commands.saliency.attribute import Forward, at_images, at_points
from gradviz.commands.saliency.branches import Branches, branches_of
from gradviz.commands.saliency.independence import Independence
from gradviz.commands.saliency.memory import Memory
from gradviz.commands.saliency.result import Attribution, Outcome, failures
from gradviz.commands.saliency.settings import Settings
from gradviz.commands.saliency.tiled import Allocate, TilePlan, Tiler, in_memory
from gradviz.errors import (
    DetectionsError,
    LayerError,
    MemoryShort,
    ModelError,
    SeedError,
    UsageError,
)
from gradviz.field.output_maps import no_map
from gradviz.image.load import LoadedImage
from gradviz.image.other_input import OtherInput
from gradviz.layout import are_squares
from gradviz.model.foreign import foreign_code
from gradviz.model.model import Model, deterministic
from gradviz.runs.results import Failure
from gradviz.seeds.outputs import OutputKind, output_kind
from gradviz.seeds.seed import Seed, default_seed
from gradviz.text import listed


@dataclass(frozen=True)
class Work:
    """Images of one size that share a forward pass, and the seeds still to be computed for them."""

    images: tuple[LoadedImage, ...]
    seeds: tuple[Seed, ...]
    """The seeds; empty for the default of the model's output."""
    notes: tuple[str, ...] = ()
    """Warnings for all results."""

    def one_by_one(self) -> list[Work]:
        """Split the work into single images."""
        return [replace(self, images=(image,)) for image in self.images]

    def smaller(self, error: ModelError | LayerError) -> list[Work]:
        """Split the work into smaller groups: halves if memory was short, else single images.

        Args:
            error: the error of the whole group.
        """
        if not isinstance(error, MemoryShort):
            return self.one_by_one()
        size = (len(self.images) + 1) // 2
        note = (
            f"memory was short for {len(self.images)} images at once: computed by {size}, which "
            "rounds differently"
        )
        return [
            Work(self.images[start : start + size], self.seeds, (note,))
            for start in range(0, len(self.images), size)
        ]


class Explainer:
    """An engine that computes attributions with one model, and caches facts about that model."""

    def __init__(
        self,
        model: Model,
        settings: Settings,
        allocate: Allocate = in_memory,
        faster: Model | None = None,
        on_progress: Callable[[int], object] = lambda points: None,
        memory: Memory | None = None,
    ) -> None:
        """Take a model and the choices of a run.

        Args:
            model: the model that is differentiated.
            settings: the method and its options.
            allocate: allocates the arrays in which gradients of tiled images are put together.
            faster: the form of the model that computes; None for the model itself. Tiles are tried
                on the model.
            on_progress: receives the number of points done for the current image, if the method
                takes several.
            memory: keeps findings and passes for the next explainer of the model; None for one of
                its own.
        """
        self._model = faster or model
        self._settings = settings
        self._memory = memory or Memory()
        self._tiler = Tiler(model, settings, self._memory)
        self._allocate = allocate
        self._on_progress = on_progress
        self._independence = Independence()
        self._branches: Branches | None = None
        self._no_map: dict[tuple[int, ...], str | None] = {}

    def outcomes(self, images: Sequence[LoadedImage], seeds: Sequence[Seed]) -> Generator[Outcome]:
        """Compute one outcome for every image and seed, and yield each as soon as it is there.

        Images of one size share a forward pass, and all seeds share it too. An image that a seed
        does not fit fails for that seed alone.

        Args:
            images: the images.
            seeds: the seeds; empty for the default of the output's kind.

        Raises:
            UsageError: the model has several outputs, and none was named; or the layer that was
                named does not exist.
        """
        try:
            yield from self._outcomes(images, seeds)
        except DetectionsError:  # of the first pass, before any outcome
            self._model = self._model.as_detector()
            self._tiler = Tiler(self._model, self._settings, self._memory)
            yield from self._outcomes(images, seeds)

    def _outcomes(self, images: Sequence[LoadedImage], seeds: Sequence[Seed]) -> Iterator[Outcome]:
        """Compute the outcomes by the model as it is now."""
        if self._settings.wrt is not None:
            yield from self._with_respect_to(self._settings.wrt, images, seeds)
            return
        by_size: defaultdict[tuple[int, ...], list[LoadedImage]] = defaultdict(list)
        for image in images:
            by_size[image.prepared.shape].append(image)
        for group in by_size.values():
            try:
                steps = self._tiler.plan(group, seeds)
            except DetectionsError:
                raise
            except UsageError as error:
                yield from (each for image in group for each in failures(image.name, seeds, error))
                continue
            for step in steps:
                if isinstance(step, TilePlan):
                    yield step.outcome(self._model, self._settings, self._allocate)
                else:
                    work = Work(tuple(group), step.seeds)
                    # Detectors that choose boxes give each image another number of them.
                    alone = self._independence.mixes or self._model.detects
                    alone = alone or self._settings.reads_operands
                    for each in work.one_by_one() if alone else [work]:
                        yield from self._whole(each)

    def _with_respect_to(
        self, wrt: str, images: Sequence[LoadedImage], seeds: Sequence[Seed]
    ) -> Generator[Outcome]:
        """Compute the outcomes with respect to another input, image by image."""
        settings = replace(self._settings, wrt=None, tile="off")
        for image in images:
            fixed = OtherInput(image.name, image.prepared.tensor[None], image.prepared)
            model, other = self._model.turned(wrt, fixed)
            varied = LoadedImage(image.name, other.prepared)
            explainer = Explainer(model, settings, self._allocate, None, self._on_progress)
            for each in explainer.outcomes([varied], seeds):
                if isinstance(each, Attribution) and each.array.shape == varied.prepared.shape:
                    each = replace(each, array=each.array.reshape(other.values.shape[1:]))
                yield each

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
                    # Computed after this block: the error keeps the memory of the pass alive.
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
        # Operations that draw random numbers draw the same ones for this batch in every run.
        with deterministic():
            if self._model.detects and self._branches is None:
                self._branches = branches_of(self._model, x)
            forward = self._memory.forward(
                work.images, self._pass, partial(self._forward, work.images, x)
            )
            kept = self._memory.keeps(forward)
            together = self._settings.batch_size if self._settings.points.sampler else len(x)
            self._independence.look(self._model, x.detach(), forward.y.detach(), together)
            if self._independence.mixes and len(x) > 1:
                raise _MixedError
            notes = work.notes + self._independence.notes
            if not work.seeds:
                notes += self._sum_note(forward)
            seeds = work.seeds or (default_seed(forward.y.detach()[0], self._model.detects),)
            for place, seed in enumerate(seeds):
                this = Work(work.images, (seed,), notes)
                yield self._under_seed(this, forward, kept or place < len(seeds) - 1)

    @property
    def _pass(self) -> Hashable:
        """The choices on which a forward pass depends, beside the images."""
        each = self._settings
        return id(self._model), each.points.name, each.reads_input, each.layer, each.reads_operands

    def _forward(self, images: Sequence[LoadedImage], x: Tensor) -> Forward:
        settings, model = self._settings, self._model
        if settings.points.sampler is not None:  # gradients are taken at other points
            return Forward(images, x, model(x))
        x.requires_grad_()
        operands = recorder() if settings.reads_operands else None
        with operands or nullcontext():
            if settings.reads_input:
                return Forward(images, x, model(x), operands=operands)
            every = settings.layer is None or names_operation(settings.layer)
            activations = ActivationRecorder(model.module, operations=every)
            y, layers = run_with_layers(model.module, model, x, activations, model.layout)
        if settings.layer is None:
            chosen = cam_layer(layers)
        else:
            chosen = CamLayer(find_layer(layers, settings.layer), None)
        layer = chosen.layer
        unreadable = len(layer.shape) > 2 and not layer.is_map
        if unreadable or (settings.chosen_method.needs_layer and not layer.spatial):
            raise LayerError(
                f"--layer {layer.name}: its output {list(layer.shape)} {layer.unlike_a_map}, and "
                f"{settings.method} needs a map, as in {listed(layers.maps, 8) or 'no layer'}"
            )
        count = layer.shape[0] if layer.arrangement is None else layer.arrangement.grid[0]
        if count != (model.batch or len(x)):
            raise LayerError(
                f"--layer {layer.name}: its output {list(layer.shape)} is not one for each image: "
                "name another layer"
            )
        return Forward(images, x, y, layer, operands, chosen.reason)

    def _under_seed(self, work: Work, forward: Forward, retain_graph: bool) -> list[Outcome]:
        """Compute the outcomes of all images under the one seed of `work`."""
        (seed,) = work.seeds
        output = forward.y.detach()
        v = torch.zeros_like(output)
        seeds = [seed] * len(work.images)
        answers: dict[int, Answered] = {}
        misfits: dict[int, SeedError] = {}
        apart = self._apart(forward, seed)
        no_map = self._why_no_map(forward) if seed.reads_map else None
        sites = [
            replace(self._tiler.site(image, seed), apart=apart, no_map=no_map)
            for image in work.images
        ]
        for n, site in enumerate(sites):
            try:
                if self._settings.boxes is not None and not self._model.detects:
                    raise SeedError(
                        f"seed {seed.spec}: the model is no detector: leave out --box-score and "
                        "--box-iou"
                    )
                if self._branches is not None:
                    self._branches.check(seed, self._settings.points.sampler is not None)
                seeds[n] = seed.for_image(work.images[n].name)
                v[n] = seeds[n].cotangent(output[n], site)
                if self._settings.keeps_output:
                    answers[n] = answered(output[n], channels_of(v[n]), site)
            except SeedError as error:
                misfits[n] = error
        if len(misfits) == len(work.images):
            return [Failure(work.images[n].name, seed.spec, each) for n, each in misfits.items()]
        try:
            found = self._found(forward, seed, v, retain_graph)
        except MemoryShort:
            raise
        except (ModelError, UsageError) as error:
            if len(work.images) == 1:
                return [Failure(work.images[0].name, seed.spec, error)]
            alone = (Work((image,), work.seeds, work.notes) for image in work.images)
            return [outcome for each in alone for outcome in self._whole(each)]
        notes = work.notes + self._tiler.notes(work.images[0], seed)
        notes += seed.warnings(output[0], sites[0])
        if self._branches is not None:
            notes += self._branches.notes(seed)
        return [
            Failure(each.image, seed.spec, misfits[n])
            if n in misfits
            # Images that are tried again have some notes twice.
            else replace(
                each,
                answer=seed.answer(output[n], sites[n]),
                detection=seed.detection(output[n], sites[n]),
                marks=seed.marks(output[n], sites[n]),
                loss=seeds[n].loss(output[n], sites[n]),
                answered=answers.get(n),
                notes=tuple(dict.fromkeys(each.notes + notes)),
            )
            for n, each in enumerate(found)
        ]

    def _sum_note(self, forward: Forward) -> tuple[str, ...]:
        """Return the warning about a default seed that adds up rows of numbers."""
        shape = forward.y.shape[1:]
        if len(shape) != 2 or are_squares(*shape, *forward.x.shape[2:]):  # without a pass for it
            return ()
        if self._why_no_map(forward) is None:
            return ()
        return (
            f"all numbers of the output {list(shape)} are added up, for it is not known to be a "
            "map: choose some with --seed tensor:FILE, or if it holds boxes one with --seed box:N",
        )

    def _why_no_map(self, forward: Forward) -> str | None:
        """Return the reason why the output is no map; None if it is one, or of another rank."""
        if forward.y.dim() != 3 or self._model.detects:
            return None
        shape = tuple(forward.x.shape)
        if shape not in self._no_map:
            self._no_map[shape] = no_map(self._model, forward.x[:1])
        return self._no_map[shape]

    def _apart(self, forward: Forward, seed: Seed) -> bool:
        """Return True if each score is a probability of its own, of a sigmoid."""
        y = forward.y
        asked = seed.takes_class or self._settings.keeps_output
        if not asked or output_kind(y[0]) is not OutputKind.SCORES:
            return False
        if not ((y >= 0) & (y <= 1)).all():
            return False
        if y.grad_fn is None:  # a pass at the image itself has no graph if gradients are elsewhere
            y = self._model(forward.x[:1].detach().clone().requires_grad_())
        return is_of_sigmoid(y)

    def _found(
        self, forward: Forward, seed: Seed, v: Tensor, retain_graph: bool
    ) -> list[Attribution]:
        """Apply the method to each image, at the image itself or at points around it."""
        settings, model = self._settings, self._model
        if self._independence.mixes:
            settings = replace(settings, batch_size=1)
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


class _MixedError(ModelError):
    """The images of a batch change each other's answers."""
