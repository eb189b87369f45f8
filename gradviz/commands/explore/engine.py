"""The engine behind the page: what one model answers, and what its answers look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from threading import Lock

from gradviz.arrays import Size
from gradviz.backward.integrated_gradients import BASELINES
from gradviz.backward.layers import run_with_layers
from gradviz.backward.methods import METHODS
from gradviz.commands.explore.fields import Fields, fields_of
from gradviz.commands.explore.model_output import ModelOutput, output_in_tiles, output_of
from gradviz.commands.explore.question import Question
from gradviz.commands.explore.reaction import Reaction, Reactions
from gradviz.commands.explore.session import MOST_CLASSES, ExploredModel
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.memory import Memory
from gradviz.commands.saliency.result import Attribution
from gradviz.commands.saliency.settings import Settings
from gradviz.errors import UsageError
from gradviz.image.find import Source
from gradviz.image.load import LoadedImage, load_image
from gradviz.image.prepare import Prepared
from gradviz.model.fast import optimised_for
from gradviz.model.model import Model, deterministic
from gradviz.runs.results import Failure
from gradviz.seeds.seed import Seed, ask_for_boxes, check_labels, parse_seed
from gradviz.seeds.suppression import DEFAULT_RULE, Suppression

Version = tuple[int, ...]
"""The place of an image, and the time, size and inode of its file. A save and its command read the
file anew, so nothing is kept of one that was replaced."""

Progress = Callable[[str], object]
"""Takes the next step, in words."""

LARGEST_KEPT = 1 << 18
"""The most pixels of an image whose forward pass is kept, so that a backward pass alone answers a
question. The output of a larger image is computed tile by tile, and questions come between."""

LARGEST_ANSWER = 1 << 26
"""The most numbers of the last answer that is kept: 256 MiB."""

IMAGES_KEPT = 2
"""The images whose pixels are kept."""

FIELDS_KEPT = 4
"""The shapes of images whose structural boxes are kept."""


class Engine:
    """One model and the images that it is asked about."""

    def __init__(
        self,
        explored: ExploredModel,
        sources: Sequence[Source],
        rule: Suppression = DEFAULT_RULE,
    ) -> None:
        """Take the model and the images; nothing is read yet.

        Args:
            explored: the model.
            sources: the images.
            rule: the rule by which detections are chosen.
        """
        self._rule = rule
        self.model = explored.model
        self.preprocess = explored.preprocess
        self._optimize = explored.optimize
        self._held = explored.held
        self._sources = sources
        self._explainers = lru_cache(4)(self._explainer)
        self._output: tuple[Version, ModelOutput] | None = None
        self._last: tuple[tuple[Version, str, Settings], Attribution] | None = None
        self._faster = lru_cache(2)(self._optimised)
        self._fields: dict[tuple[int, Size], Fields] = {}
        self._images = lru_cache(IMAGES_KEPT)(self._image)
        self._loading = Lock()
        self._memory = Memory(LARGEST_KEPT)
        self._reactions = Reactions(self.model)
        self._step: Progress = lambda step: None

    def image(self, place: int) -> LoadedImage:
        """Return an image as the model gets it.

        Raises:
            GradvizError: there is none at this place, or it cannot be read.
        """
        if self._held is not None and place == 0:
            return self._held
        version = self._version(place)
        with self._loading:  # the worker and the page's picture ask at the same time
            return self._images(version)

    def _image(self, version: Version) -> LoadedImage:
        return load_image(self.source(version[0]), self.preprocess)

    def _version(self, place: int) -> Version:
        """Return the place of an image, and what tells its file from one that replaced it."""
        if self._held is None or place != 0:
            with suppress(OSError):  # reading it says why
                now = self.source(place).place.stat()
                return place, now.st_mtime_ns, now.st_size, now.st_ino
        return (place,)

    def source(self, place: int) -> Source:
        """Return the image file at a place.

        Raises:
            UsageError: there is none, or the caller holds the image.
        """
        if self._held is not None and place == 0:
            raise UsageError("the image is in no file: copy the command, or explore a file")
        if not 0 <= place < len(self._sources):
            raise UsageError(f"image {place}: there are {len(self._sources)}, from 0")
        return self._sources[place]

    @cached_property
    def _detector(self) -> Model:
        return self.model.as_detector()

    def form(self, boxes: bool) -> Model:
        """Return the model, read as a detector for seeds about boxes."""
        return self._detector if boxes else self.model

    def _optimised(self, boxes: bool) -> Model:
        return optimised_for(self.form(boxes), self.preprocess)

    def seeds(self, spec: str) -> list[Seed]:
        """Parse the seed of a question; an empty list stands for the default.

        Raises:
            SeedError: it cannot be read, or names a file.
        """
        if not spec:
            return []
        seeds = [parse_seed(spec, files=False)]
        check_labels(seeds, self.model.labels)
        return seeds

    def settings(self, question: Question) -> Settings:
        """Make the settings of a run that answers the question.

        Raises:
            UsageError: they contradict each other, or name a file.
        """
        if question.method not in METHODS:
            raise UsageError(f"no method is called {question.method!r}; use {', '.join(METHODS)}")
        if question.baseline not in (None, *BASELINES):
            raise UsageError(f"--baseline {question.baseline}: use {', '.join(BASELINES)}")
        seeds = self.seeds(question.seed)
        return Settings(
            method=question.method,
            layer=question.layer,
            baseline=question.baseline,
            batch_size=self.model.batch or Settings.batch_size,
            optimize=self._optimize,
            boxes=self._rule if ask_for_boxes(seeds) else None,
        )

    def attribution(self, question: Question, show: Progress) -> Attribution:
        """Answer what a place of the output looks at: what `gradviz saliency` would write.

        Raises:
            GradvizError: the question cannot be answered.
        """
        self._step = show
        settings = self.settings(question)
        kept = self._version(question.image), question.seed, settings
        if self._last is None or self._last[0] != kept:
            found = self._attribution(question.image, question.seed, settings)
            self._last = (kept, found) if found.array.size <= LARGEST_ANSWER else None
            return found
        return self._last[1]

    def _attribution(self, place: int, spec: str, settings: Settings) -> Attribution:
        (outcome,) = self._explainers(settings).outcomes([self.image(place)], self.seeds(spec))
        if isinstance(outcome, Failure):
            self._memory.forget()
            try:
                raise outcome.error
            finally:
                # Its traceback has this frame: a cycle would keep the tensors of the pass alive.
                del outcome
        return outcome

    def forget_pass(self) -> None:
        """Let go of the forward pass that is kept, for what needs memory."""
        self._memory.forget()

    def reaction(self, image: int, pixel: tuple[int, int]) -> Reaction:
        """Answer how the output reacts to a pixel of an image.

        Raises:
            GradvizError: the question cannot be answered.
        """
        prepared = self.image(image).prepared
        locality = self._memory.locality(self.model, prepared)
        return self._reactions.at(prepared, pixel, self.fields(image), locality)

    def output(self, image: int, between: Callable[[int, int], object]) -> ModelOutput:
        """Run the model on an image; the last output is kept, whatever channel is looked at.

        Args:
            image: the place of the image.
            between: is called between the parts of a large image, with the number of those that
                are done and of all.

        Raises:
            GradvizError: it fails.
        """
        version = self._version(image)
        if self._output is None or self._output[0] != version:
            self._output = None
            self._output = version, self._compute(self.image(image).prepared, between)
        return self._output[1]

    def _compute(self, prepared: Prepared, between: Callable[[int, int], object]) -> ModelOutput:
        _, height, width = prepared.shape
        if width * height > LARGEST_KEPT and self.model.inputs.size is None:
            locality = self._memory.locality(self.model, prepared)
            found = output_in_tiles(self.model, prepared, locality, between)
            if found is not None:
                return found
        return output_of(self.model, prepared, self._rule, MOST_CLASSES)

    def fields(self, image: int) -> Fields:
        """Find the structural box of every output pixel of an image."""
        channels, size = self._shape(image)
        if (channels, size) not in self._fields:
            self._fields[channels, size] = fields_of(self.model, channels, size)
            while len(self._fields) > FIELDS_KEPT:
                del self._fields[next(iter(self._fields))]
        return self._fields[channels, size]

    def known_fields(self, image: int) -> Fields | None:
        """Return what `fields` has found for images of this shape; any thread may ask."""
        return self._fields.get(self._shape(image))

    def _shape(self, image: int) -> tuple[int, Size]:
        channels, height, width = self.image(image).prepared.shape
        return channels, (width, height)

    def layers(self, image: int) -> list[dict[str, object]]:
        """List the layers that can be read, in the order in which they run.

        Raises:
            GradvizError: the model fails.
        """
        prepared = self.image(image).prepared
        with deterministic():
            x = self.model.batch_of(prepared.tensor)
            model = self.model.recognised(x)
            _, layers = run_with_layers(model.module, model, x, layout=model.layout)
        return [
            {"name": layer.name, "shape": list(layer.shape), "map": layer.spatial}
            for layer in layers.values()
        ]

    def _explainer(self, settings: Settings) -> Explainer:
        boxes, name = settings.boxes is not None, settings.method
        faster = self._faster(boxes) if settings.speeds_up(1) else None
        return Explainer(
            self.form(boxes),
            settings,
            faster=faster,
            on_progress=lambda points: self._step(f"{name}: {points} points"),
            memory=self._memory,
        )
