"""A saliency run: many images in batches, with results written as they are done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.mean import MAGNITUDE, mean_lines, views_of_mean
from gradviz.commands.saliency.result import Attribution, Outcome, failures
from gradviz.commands.saliency.settings import Settings
from gradviz.commands.saliency.write import ResultWriter
from gradviz.errors import ImageError, MemoryShort
from gradviz.image.find import Source
from gradviz.image.load import LoadedImage, load_image
from gradviz.image.preprocess import Preprocess
from gradviz.model.fast import optimised_for
from gradviz.model.model import Model
from gradviz.runs.names import MEAN
from gradviz.runs.record import RunSetup, describe, image_record
from gradviz.runs.results import Failure, failure_line
from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import Done, ResultLine, RunRecord
from gradviz.runs.shards import Shard
from gradviz.runs.workers import THREADS, in_order
from gradviz.seeds.seed import Seed

Batch = Sequence[Source]


def cut(sources: Sequence[Source], size: int) -> list[Batch]:
    """Cut the batches of a run, always from the whole list.

    A batch is computed or skipped as a whole, because the same image in a batch of another size
    gives slightly different numbers.

    Args:
        sources: all images of the run.
        size: the number of images in a batch.
    """
    return [sources[start : start + size] for start in range(0, len(sources), size)]


def outcomes(
    explainer: Explainer,
    batches: Sequence[Batch],
    preprocess: Preprocess,
    seeds: Sequence[Seed],
) -> Generator[Outcome]:
    """Compute all images under all seeds, batch by batch; failures are among the outcomes.

    The images of the next batch are read while one is computed.

    Args:
        explainer: the engine, with the model.
        batches: the image files, cut into batches.
        preprocess: the recipe.
        seeds: the seeds; empty for the default of the model's output.
    """
    sources = [source for batch in batches for source in batch]
    ahead = max(map(len, batches), default=1)
    with closing(in_order(partial(_read, preprocess), sources, ahead)) as read:
        for batch in batches:
            ready = []
            for source, image in zip(batch, read, strict=False):
                if isinstance(image, ImageError | MemoryShort):
                    yield from failures(source.name, seeds, image)
                else:
                    ready.append(image)
            yield from explainer.outcomes(ready, seeds)


def _read(preprocess: Preprocess, source: Source) -> LoadedImage | ImageError | MemoryShort:
    try:
        return load_image(source, preprocess)
    except (ImageError, MemoryShort) as error:  # another error is that of the recipe
        return error


@dataclass(frozen=True)
class Job:
    """The task of a run, without the folder that takes the results."""

    model: Model
    sources: Sequence[Source]
    preprocess: Preprocess
    seeds: Sequence[Seed]
    """The seeds; empty for the default of the model's output."""
    settings: Settings
    masks: Mapping[str, Path] = field(default_factory=dict)
    """The mask of each image by its name; empty if no energy inside is measured."""
    command: Sequence[str] = ()
    """The command line of the program, for the record."""

    def batches(self, shard: Shard | None) -> Sequence[Batch]:
        """Return the batches of one shard, or of the whole run."""
        batches = cut(self.sources, self.settings.images_at_once)
        return batches if shard is None else shard.of(batches)

    @property
    def results_per_image(self) -> int:
        """The number of results of each image."""
        return len(self.seeds) or 1

    def targets(self) -> dict[str, list[Path]]:
        """List the files that the seeds read for each image, by its name.

        Raises:
            SeedError: a folder that a seed names has none for an image.
        """
        return {
            source.name: [file for seed in self.seeds for file in seed.files([source.name])]
            for source in self.sources
        }

    def record(self, model: Model) -> RunRecord:
        """Describe the run: the content of run.json.

        Args:
            model: the form of the job's model that computes.

        Raises:
            UsageError: a file that the run reads is missing.
        """
        settings = self.settings
        arrays = [settings.array_file(name) for name in settings.arrays if settings.keeps_arrays]
        read = [
            *(file for files in self.targets().values() for file in files),
            settings.baseline_file,
            *self.masks.values(),
        ]
        views, sources = [*settings.views], [*self.sources]
        if settings.mean_of_images:
            arrays.append(settings.array_file(MAGNITUDE))
            views = [*dict.fromkeys((*views, *views_of_mean(settings.gradient_views)))]
            sources.append(Source(Path(MEAN), MEAN))
        return describe(
            RunSetup("saliency", model, self.preprocess, settings),
            sources,
            [*arrays, *(f"{view}.png" for view in views)],
            self.command,
            [file for file in read if file is not None],
        )


class SaliencyRun:
    """A run of a job into a folder, as a context manager that yields each line of results.jsonl.

        with SaliencyRun(job, folder) as run:
            for line in run:
                ...

    Entering starts the run, or resumes it. Leaving puts the results in order and shares scales,
    also if the loop was left early. After an exception, finished results stay as they are.

    Raises:
        UsageError: the folder holds another run, or the disk refuses.
    """

    def __init__(
        self,
        job: Job,
        folder: RunWriter,
        resume: bool = False,
        on_progress: Callable[[int], object] = lambda points: None,
    ) -> None:
        """Take the job and its folder.

        Args:
            job: the model, the images and the choices.
            folder: takes the results; locked by the caller.
            resume: True to finish an earlier run in the folder.
            on_progress: receives the number of points done for the current image, if the method
                takes several.
        """
        self._job = job
        self._folder = folder
        self._resume = resume
        self._on_progress = on_progress
        sources = {source.name: source for source in job.sources}
        masks = {name: Source(mask, mask.name) for name, mask in job.masks.items()}
        wrt = job.settings.wrt
        over = None if wrt is None else job.model.inputs.varied(wrt)[1]
        targets = {
            name: [Source(file, file.name) for file in files]
            for name, files in job.targets().items()
        }
        self.writer = ResultWriter(
            folder, job.settings, job.preprocess, sources, masks, over, targets
        )
        self._faster = job.model
        self._lines: Generator[ResultLine]
        self.record: RunRecord
        """The content of run.json, once the run is entered."""

    def __enter__(self) -> Self:
        """Start the run, or take over the complete results of an earlier one."""
        job, batches, kept = self._job, self._job.batches(self._folder.shard), list[Done]()
        if job.settings.speeds_up(len(job.sources)):
            self._faster = optimised_for(job.model, job.preprocess)
        self.record = job.record(self._faster)
        if self._resume:
            names = {source.name for batch in batches for source in batch}
            whole = self._folder.resume(self.record, names)
            batches, kept = _unfinished(batches, whole, job.results_per_image)
            with self._folder.exclusive():
                self._folder.replace(kept)
        else:
            self._folder.begin(self.record)
        # The record ends with the mean, if there is one.
        self.writer.recorded.update(zip(job.sources, self.record.images, strict=False))
        others = {*self.writer.masks.values(), *self.writer.drawn_over}
        others.update(file for files in self.writer.targets.values() for file in files)
        self.writer.recorded.update((other, image_record(other)) for other in others)
        self._lines = self._compute(batches, kept)
        return self

    def __iter__(self) -> Iterator[ResultLine]:
        """Compute, write and yield the results, those of a resumed run first."""
        return self._lines

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the results in order and share the scales, if nothing was raised."""
        self._lines.close()
        if error is None:
            self._put_in_order()
            if self._job.settings.scale == "shared":
                self._share_scales()
            if self._job.settings.mean_of_images:
                self._average()

    def _compute(self, batches: Sequence[Batch], kept: Sequence[Done]) -> Generator[ResultLine]:
        yield from kept
        job = self._job
        explainer = Explainer(
            job.model, job.settings, self._folder.allocate, self._faster, self._on_progress
        )
        # A few results are drawn and written while the next ones are computed.
        with (
            closing(outcomes(explainer, batches, job.preprocess, job.seeds)) as found,
            self._folder.appending() as append,
            closing(in_order(self.writer.line, found, 2 * THREADS, weight)) as lines,
        ):
            for line in lines:
                append(line)
                yield line

    def _put_in_order(self) -> None:
        """Sort the results by image and seed: images of other sizes in a batch come later."""
        place = {source.name: n for n, source in enumerate(self._job.sources)}
        turn = {seed.spec: n for n, seed in enumerate(self._job.seeds)}
        with self._folder.exclusive():  # another shard may be about to draw these results anew
            lines = self._folder.own()
            ordered = sorted(
                lines, key=lambda line: (place[line.image], turn.get(line.seed or "", 0))
            )
            if ordered != lines:
                self._folder.replace(ordered)

    def _share_scales(self) -> None:
        """Draw all results on one scale; the last of several shards draws for all."""
        with self._folder.exclusive():
            lines = _of_images(self._folder.lines())
            if {line.image for line in lines} == {source.name for source in self._job.sources}:
                largest = _largest_scales(self._on_own_scales(lines))
                for part in self._folder.parts():
                    part.replace(self._on_scales(_of_images(part.own()), largest))

    def _average(self) -> None:
        """Write the means over all images; the last of several shards does it for all."""
        place = {source.name: n for n, source in enumerate(self._job.sources)}
        with self._folder.exclusive():
            lines = _of_images(self._folder.lines())
            if {line.image for line in lines} != place.keys():
                return
            means = mean_lines(self.writer, sorted(lines, key=lambda line: place[line.image]))
            for part in self._folder.parts():
                own, kept = part.own(), _of_images(part.own())
                if len(own) > len(kept):  # of a shard that was the last one before
                    part.replace(kept)
            self._folder.replace([*_of_images(self._folder.own()), *means])

    def _on_own_scales(self, lines: Iterable[ResultLine]) -> Iterator[ResultLine]:
        """Yield the lines on the scales of their own arrays.

        They may have shared the scale of an image that is gone, or was replaced.
        """
        for line in lines:
            if isinstance(line, Done):
                with suppress(ImageError):  # raised again when it is drawn
                    yield self.writer.rescaled(line)

    def _on_scales(self, lines: Iterable[ResultLine], scales: Scales) -> Iterator[ResultLine]:
        for line in lines:
            if isinstance(line, Done):
                shared = {view: scales[line.seed, view] for view in line.scales}
                shared_line = line.model_copy(update={"scales": shared})
                try:
                    yield self.writer.redrawn(shared_line)
                except ImageError as error:  # it was deleted in the meantime
                    yield failure_line(Failure(line.image, line.seed, error))
            else:
                yield line


def _of_images(lines: Iterable[ResultLine]) -> list[ResultLine]:
    """Select the lines that are about an image, and not about the mean of all."""
    return [line for line in lines if line.image != MEAN]


def weight(outcome: Outcome) -> float:
    """Estimate the memory of a result that waits to be drawn, in millions of numbers."""
    if not isinstance(outcome, Attribution):
        return 0
    output = 0 if outcome.answered is None else outcome.answered.array.size
    return (outcome.array.size + output) / 1e6


def _unfinished(
    batches: Sequence[Batch], whole: Iterable[Done], results_per_image: int
) -> tuple[list[Batch], list[Done]]:
    """Return the batches that lack a result, and the lines of those that lack none."""
    lines = defaultdict(list)
    for line in whole:
        lines[line.image].append(line)
    left: list[Batch] = []
    kept: list[Done] = []
    for batch in batches:
        if all(len(lines[source.name]) == results_per_image for source in batch):
            kept.extend(line for source in batch for line in lines[source.name])
        else:
            left.append(batch)
    return left, kept


Scales = Mapping[tuple[str, str], float]
"""The scale of each seed and view."""


def _largest_scales(lines: Iterable[ResultLine]) -> Scales:
    """Find one scale for all images of a seed: the largest of their own."""
    largest: defaultdict[tuple[str, str], float] = defaultdict(float)
    for line in lines:
        if isinstance(line, Done):
            for view, scale in line.scales.items():
                largest[line.seed, view] = max(largest[line.seed, view], scale)
    return largest
