"""The mean over the images of a run: of g, of |g|, and of every statistic, seed by seed."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image

from gradviz.arrays import Array, Doubles, Floats
from gradviz.backward.methods import METHODS
from gradviz.commands.saliency.result import Attribution
from gradviz.commands.saliency.write import PNG, ResultWriter
from gradviz.errors import ImageError
from gradviz.heatmap.colours import GRAY
from gradviz.heatmap.draw import draw
from gradviz.heatmap.views import VIEWS
from gradviz.image.load import load_image
from gradviz.runs.names import MEAN
from gradviz.runs.results import Failure, failure_line
from gradviz.runs.schema import Done, Failed, MeanEntry, ResultLine, Spread, Stats
from gradviz.stored_arrays import WRITERS
from gradviz.text import listed

MAGNITUDE = "magnitude"
"""The name of the array that holds the mean of |g|."""

SIGNED = "signed"
"""The view that is drawn of every mean of g: what cancels there is not the model's own."""

_MOST_NAMED = 3
"""The most images that a warning names; the others are counted."""


@dataclass(frozen=True, eq=False)
class ArrayMean:
    """The means of arrays of one shape."""

    signed: Floats
    """The mean of g, of the arrays' shape."""
    magnitude: Floats
    """The mean of |g|."""
    taken: tuple[Done, ...]
    """The lines of the images that are in the means."""
    left_out: tuple[Done, ...]
    """The lines of images whose array has another shape."""


def mean_lines(writer: ResultWriter, lines: Sequence[ResultLine]) -> list[Done | Failed]:
    """Write the means over a finished run, and make their lines of results.jsonl.

    They are computed of the arrays in the folder, in the order of the lines, so that a run that was
    resumed or shared out has the same bytes as one that was not.

    Args:
        writer: the writer of the run.
        lines: the lines of all images, in the order of the images.
    """
    by_seed: defaultdict[str, list[Done]] = defaultdict(list)
    for line in lines:
        if isinstance(line, Done):
            by_seed[line.seed].append(line)
    images = [*dict.fromkeys(line.image for line in lines)]
    return [_mean_line(writer, seed, done, images) for seed, done in by_seed.items()]


def mean_of(writer: ResultWriter, done: Sequence[Done]) -> ArrayMean:
    """Average the arrays of the size that most have, one by one, in float64.

    Only the sums stay in memory. Of several sizes that as many arrays have, the first is taken.

    Args:
        writer: the writer of the run, in whose folder the arrays are.
        done: the results of one seed, at least one.
    """
    shapes = [_array(writer, line, mapped=True).shape for line in done]
    ((shape, _),) = Counter(shapes).most_common(1)
    taken = [line for line, each in zip(done, shapes, strict=True) if each == shape]
    left_out = [line for line, each in zip(done, shapes, strict=True) if each != shape]
    signed, magnitude = np.zeros(shape), np.zeros(shape)
    for line in taken:
        array: Doubles = _array(writer, line).astype(np.float64)
        with np.errstate(invalid="ignore"):  # Inf of both signs
            signed += array
            magnitude += np.abs(array)
    return ArrayMean(
        (signed / len(taken)).astype(np.float32),
        (magnitude / len(taken)).astype(np.float32),
        tuple(taken),
        tuple(left_out),
    )


def spread_of(values: Sequence[float | None]) -> Spread:
    """Compute the mean, the median and the quartiles of the values that are numbers."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return Spread(count=0, mean=None, median=None, q1=None, q3=None)
    q1, median, q3 = (float(each) for each in np.quantile(known, [0.25, 0.5, 0.75]))
    return Spread(count=len(known), mean=math.fsum(known) / len(known), median=median, q1=q1, q3=q3)


def _array(writer: ResultWriter, line: Done, mapped: bool = False) -> Array:
    name = METHODS[writer.settings.method].writes
    return writer.folder.array(line.files[name], mapped)


def _mean_line(
    writer: ResultWriter, seed: str, done: Sequence[Done], images: Sequence[str]
) -> Done | Failed:
    """Write the mean of one seed's results."""
    mean = mean_of(writer, done)
    if len(mean.taken) < 2:
        error = ImageError(
            f"the mean of {seed}: needs two images of one size, and there is one like "
            f"{mean.taken[0].image}; give --resize and --crop, or leave out --mean-of-images"
        )
        return failure_line(Failure(MEAN, seed, error))
    statistics = _statistics(mean.taken)
    try:
        result = _result(writer, mean, statistics)
    except ImageError as error:
        return failure_line(Failure(MEAN, seed, error))
    files, scales = {}, {}
    _, write = WRITERS[writer.settings.array]
    for name, array in {result.method.writes: mean.signed, MAGNITUDE: mean.magnitude}.items():
        files[name] = writer.place(MEAN, seed, writer.settings.array_file(name))
        writer.folder.save(files[name], partial(write, array))
    sizes = replace(result, array=mean.magnitude)
    for view in dict.fromkeys(("heatmap", *views_of_mean(writer.settings.gradient_views))):
        drawn = sizes if VIEWS[view].sizes_alone else result
        scales[view] = writer.scale(drawn, view)
        if view in views_of_mean(writer.settings.gradient_views):
            files[view] = writer.place(MEAN, seed, f"{view}.png")
            picture = _picture(writer, drawn, view, scales[view])
            writer.folder.save(files[view], partial(picture.save, **PNG))
    failed = [name for name in images if name not in {line.image for line in done}]
    others = [line.image for line in mean.left_out]
    warnings = (
        [f"failed, and left out of the mean: {listed(failed, _MOST_NAMED)}"] if failed else []
    )
    if others:
        warnings.append(
            f"of another size than {mean.taken[0].image}, and left out of the mean: "
            f"{listed(others, _MOST_NAMED)}"
        )
    return Done(
        image=MEAN,
        seed=seed,
        status="ok",
        files=files,
        output_shape=list(result.output_shape),
        score=result.score,
        over=MeanEntry(count=len(mean.taken), left_out=[*failed, *others], statistics=statistics),
        stats=Stats.model_validate({**result.stats, "scale": scales["heatmap"]}),
        scales=scales,
        warnings=[*warnings, *result.warnings],
    )


def views_of_mean(views: Sequence[str]) -> list[str]:
    """List the views that are drawn of a mean, in which no place of a single image is marked."""
    drawn = [view for view in views if not VIEWS[view].marked]
    return [*dict.fromkeys((*drawn, SIGNED))] if drawn else []


def _result(writer: ResultWriter, mean: ArrayMean, statistics: Mapping[str, Spread]) -> Attribution:
    """Make the result that the mean is drawn and measured as, in the size of its images."""
    first, score = mean.taken[0], statistics["score"].mean
    return Attribution(
        image=MEAN,
        seed=first.seed,
        method=METHODS[writer.settings.method],
        array=mean.signed,
        output_shape=tuple(first.output_shape),
        score=math.nan if score is None else score,
        prepared=replace(
            load_image(writer.sources[first.image], writer.preprocess).prepared
            if writer.over is None
            else writer.over.prepared,
            notes=(),
        ),
    )


def _picture(writer: ResultWriter, result: Attribution, view: str, scale: float) -> Image.Image:
    """Draw a view of a mean over an even gray, in the input's pixels."""
    backdrop = np.full((*result.prepared.shape[1:], 3), GRAY, np.uint8)
    return draw(result.colour_array, VIEWS[view], scale, writer.palette, backdrop)


def _statistics(lines: Sequence[Done]) -> dict[str, Spread]:
    """Compute the spread of every number that the lines have."""
    rows = [dict(_numbers(line)) for line in lines]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: spread_of([row.get(name) for row in rows]) for name in names}


def _numbers(line: Done) -> Iterator[tuple[str, float | None]]:
    yield "score", line.score
    for name in ("loss", "completeness", "conservation"):
        if (value := getattr(line, name)) is not None:
            yield name, value
    yield from ((name, value) for name, value in line.stats.content().items())
