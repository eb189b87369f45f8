"""Runs beside the first one: which results differ, by how much, and whether that passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradviz.arrays import Array
from gradviz.commands.compare.causes import changed_setup, setup_of
from gradviz.commands.compare.metrics import METRICS, Metric, finite_parts
from gradviz.errors import UsageError
from gradviz.runs import schema
from gradviz.runs.names import BOXES
from gradviz.runs.reader import FieldResults, FinishedRun, SaliencyResults, read_run
from gradviz.stored_arrays import ARRAY_ENDINGS
from gradviz.text import listed, short_names

MOST_NAMED = 3
"""The most results that a warning names; the others are counted."""

DEFAULT = {"saliency": "relative-l2", "receptive-field": "iou"}
"""The metric that judges a run of this kind unless another is named."""

NUMBERS: dict[str, Callable[[schema.Done], list[float | None]]] = {
    "score": lambda line: [line.score],
    "range": lambda line: [line.stats.min, line.stats.max],
    "abs_mean": lambda line: [line.stats.abs_mean],
    "l2": lambda line: [line.stats.l2],
    "nonfinite": lambda line: [line.stats.nonfinite],
}
"""The numbers that are compared if results have no arrays."""

Values = Mapping[str, float]
"""The value of each metric."""


@dataclass(frozen=True)
class Item:
    """One image and seed in the first run and a later one, or the network itself."""

    image: str | None
    """The image's name; None for the network and the unclipped sizes of its fields."""
    seed: str | None
    """The seed's spec; None also if the image failed under every seed."""
    problems: tuple[str, ...] = ()
    """Differences that no tolerance excuses, such as a result that one run lacks."""
    measured: Mapping[str, Values] = field(default_factory=dict)
    """The metrics of each array, by array and metric. If there are no arrays, the metrics of
    numbers, by `score`, `range`, `abs_mean`, `l2` and `nonfinite`."""
    paths: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """The path of each measured array in either run's folder."""
    facts: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """The `status`, `box` and `global` of a receptive field in either run."""
    run: int = 1
    """The place of the later run among the runs; the first one has 0."""

    @property
    def name(self) -> str:
        """The name in messages."""
        if self.image is None:
            return "the network"
        return self.image if self.seed is None else f"{self.image} ({self.seed})"

    @property
    def compared(self) -> bool:
        """True if the runs could be compared; False if an image failed in both runs."""
        return bool(self.image is None or self.measured or self.problems)

    def worst(self, metric: Metric) -> tuple[str, float] | None:
        """Find the array that differs most.

        Returns:
            its name and its value of the metric; None if nothing was measured.
        """
        values = [(name, of[metric.name]) for name, of in self.measured.items()]
        return max(values, key=lambda pair: metric.distance(pair[1]), default=None)

    def ok(self, metric: Metric, tolerance: float) -> bool:
        """Return True if the item passes."""
        worst = self.worst(metric)
        return not self.problems and (worst is None or metric.holds(worst[1], tolerance))


@dataclass(frozen=True)
class Comparison:
    """Runs, each compared with the first."""

    runs: tuple[FinishedRun, ...]
    """The first run, A, and the later ones."""
    metric: Metric
    tolerance: float
    items: tuple[Item, ...]
    """The items, the worst first."""
    warnings: tuple[str, ...]
    """Warnings for a reader of the verdict."""

    @property
    def labels(self) -> list[str]:
        """The names of the runs in tables and pictures: the ends of their paths."""
        return short_names([run.name for run in self.runs])

    @property
    def failed(self) -> list[Item]:
        """The items that do not pass, the worst first."""
        return [item for item in self.items if not item.ok(self.metric, self.tolerance)]

    def document(self) -> schema.CompareDocument:
        """Build the document that `--json` prints."""
        return schema.CompareDocument(
            schema=1,
            kind="compare",
            ok=not self.failed,
            metric=self.metric.name,
            tolerance=self.tolerance,
            runs=[
                schema.ComparedRun(
                    path=str(run.folder.out), kind=run.record.kind, **setup_of(run.record)
                )
                for run in self.runs
            ],
            warnings=list(self.warnings),
            items=[self._entry(item) for item in self.items],
        )

    def _entry(self, item: Item) -> schema.ItemEntry:
        worst = item.worst(self.metric)
        return schema.ItemEntry(
            run=item.run,
            image=item.image,
            seed=item.seed,
            ok=item.ok(self.metric, self.tolerance),
            value=None if worst is None else worst[1],
            problems=list(item.problems),
            measured={name: dict(values) for name, values in item.measured.items()},
            facts=dict(item.facts),
        )


def compare(
    first: Path, *later: Path, metric: str | None = None, tolerance: float | None = None
) -> Comparison:
    """Compare the runs in folders with the first one.

    Args:
        first: the folder of the earlier run, A.
        later: the folders of the later runs, at least one.
        metric: a name of `METRICS`; None for the `DEFAULT` of the runs' kind.
        tolerance: the farthest value that passes; None for the metric's own.

    Raises:
        UsageError: one of the folders holds no finished run; the runs are of different kinds; there
            is nothing to compare, or nothing that the metric can be taken of.
    """
    a, *others = (read_run(folder) for folder in (first, *later))
    kind = a.record.kind
    items: list[Item] = []
    warnings: list[str] = []
    for place, b in enumerate(others, 1):
        if kind != b.record.kind:
            raise UsageError(
                f"{first} is a run of {kind}, {b.name} of {b.record.kind}; name runs of one kind"
            )
        pairs = [*_results(a, b), *_network(a, b)]
        if not any(item.compared for item in pairs):
            raise UsageError(
                f"{first} and {b.name}: no result in either to compare; run them again"
            )
        items += [replace(item, run=place) for item in pairs]
        named = f"{b.name}: " if len(others) > 1 else ""
        warnings += [f"{named}{warning}" for warning in _warnings(a, b, pairs)]
    judge = METRICS[metric or DEFAULT[kind]]
    for item in items:
        if any(judge.name not in values for values in item.measured.values()):
            able = " or ".join(each.name for each in METRICS.values() if each.of_numbers)
            raise UsageError(
                f"--metric {judge.name}: compares arrays, and {item.name} has none in both runs "
                f"(--array none); use {able}"
            )

    def badness(item: Item) -> tuple[bool, float]:
        worst = item.worst(judge)
        return bool(item.problems), 0.0 if worst is None else judge.distance(worst[1])

    return Comparison(
        (a, *others),
        judge,
        judge.tolerance if tolerance is None else tolerance,
        tuple(sorted(items, key=badness, reverse=True)),
        tuple(warnings),
    )


def _results(a: FinishedRun, b: FinishedRun) -> Iterator[Item]:
    """Yield an item for each result that either run has, or should have, image by image."""
    keys = a.by_key.keys() | b.by_key.keys()
    seeded = {image for image, seed in keys if seed is not None}
    for image, seed in sorted(keys, key=str):
        if seed is not None or image not in seeded:
            yield _pair(a, b, image, seed)
    if isinstance(a, SaliencyResults):  # a receptive-field run that was interrupted is not read
        images = {image.name for run in (a, b) for image in run.record.images}
        for image in sorted(images - {image for image, _ in keys}):
            yield Item(image, None, ("no result in either run: both were cut short",))


def _pair(a: FinishedRun, b: FinishedRun, image: str, seed: str | None) -> Item:
    one, other = a.find(image, seed), b.find(image, seed)
    if one is None or other is None:
        return Item(image, seed, (f"only in {'B' if one is None else 'A'}",))
    if isinstance(one, schema.Failed):
        if isinstance(other, schema.Failed):
            return Item(image, seed)
        return Item(image, seed, (f"failed in A: {one.error.message}",))
    if isinstance(other, schema.Failed):
        return Item(image, seed, (f"failed in B: {other.error.message}",))
    return _both(a, b, one, other)


def _both(a: FinishedRun, b: FinishedRun, one: schema.FieldDone, other: schema.FieldDone) -> Item:
    """Compare two results of one image and seed."""
    was, now = _facts(a, one), _facts(b, other)
    problems = [*_changes(was, now)]
    arrays = _arrays_of(one), _arrays_of(other)
    paths = {name: (path, arrays[1][name]) for name, path in arrays[0].items() if name in arrays[1]}
    metrics = [*METRICS.values()]
    if all(arrays):
        for name in sorted(arrays[0].keys() ^ arrays[1].keys()):
            problems.append(f"{name} only in {'A' if name in arrays[0] else 'B'}")
        pairs = _arrays(a, b, paths)
    else:
        metrics = [metric for metric in metrics if metric.of_numbers]
        pairs = _numbers(one, other)
    measured: dict[str, Values] = {}
    for name, x, y in pairs:
        if x.shape != y.shape:
            problems.append(f"{name} was {list(x.shape)}, is {list(y.shape)}")
            continue
        x, y, broken = finite_parts(x, y)
        if broken:
            problems.append(f"{name}: {broken} values are NaN or Inf in one run and not the other")
        measured[name] = {metric.name: metric.function(x, y) for metric in metrics}
    if not measured and not problems:
        problems = ["the records hold nothing that can be compared"]
    paths = {name: pair for name, pair in paths.items() if name in measured}
    facts = {key: (value, now[key]) for key, value in was.items()}
    return Item(one.image, one.seed, tuple(problems), measured, paths, facts)


def _facts(run: FinishedRun, line: schema.FieldDone) -> dict[str, Any]:
    """Collect the exact values of a receptive field, by their keys in field.json."""
    if not isinstance(run, FieldResults):
        return {}
    field = run.entries[line.image, line.seed]
    return {"status": field.status, "box": field.box, "global": field.is_global}


def _arrays_of(line: schema.FieldDone) -> dict[str, str]:
    """Map the names of a result's arrays to their paths."""
    files = line.files.items()
    return {name.removesuffix(".npy"): path for name, path in files if path.endswith(ARRAY_ENDINGS)}


def _arrays(
    a: FinishedRun, b: FinishedRun, paths: Mapping[str, tuple[str, str]]
) -> Iterator[tuple[str, Array, Array]]:
    """Yield the arrays of both runs, one pair at a time in memory."""
    for name, (one, other) in paths.items():
        yield name, a.folder.array(one), b.folder.array(other)


def _numbers(one: schema.FieldDone, other: schema.FieldDone) -> Iterator[tuple[str, Array, Array]]:
    """Yield the numbers in the lines of two results; NaN for null.

    The share of zeros is left out: rounding creates and removes zeros. The scale is left out: it
    belongs to the pictures.
    """
    if isinstance(one, schema.Done) and isinstance(other, schema.Done):
        for name, numbers in NUMBERS.items():
            yield name, np.array(numbers(one), float), np.array(numbers(other), float)


def _network(a: FinishedRun, b: FinishedRun) -> Iterator[Item]:
    """Yield the item of the network: the unclipped sizes, all of which are exact."""
    if not isinstance(a, FieldResults) or not isinstance(b, FieldResults):
        return
    problems = [*_changes(_sizes(a.document.geometry), _sizes(b.document.geometry))]
    if a.document.layers and b.document.layers:
        was, now = ({layer.name: _sizes(layer) for layer in run.document.layers} for run in (a, b))
        for name in {**was, **now}:
            problems += _changes(was.get(name, {}), now.get(name, {}), f"{name}: ")
    if a.has_boxes and b.has_boxes:
        problems += _boxes(a.folder.array(BOXES), b.folder.array(BOXES))
    yield Item(None, None, tuple(problems))


def _sizes(geometry: schema.GeometryEntry) -> dict[str, Any]:
    # What makes a field global has other names in other formats and versions of torch.
    return {key: of for key, of in geometry.content().items() if key != "global_through"}


def _boxes(x: Array, y: Array) -> Iterator[str]:
    if x.shape != y.shape:
        yield f"{BOXES} was {list(x.shape)}, is {list(y.shape)}"
    elif changed := np.count_nonzero(x != y):
        yield f"{BOXES}: {changed} of {x.size} sides of boxes are elsewhere"


def _changes(was: Mapping[str, Any], now: Mapping[str, Any], of: str = "") -> Iterator[str]:
    for key in {**was, **now}:
        if was.get(key) != now.get(key):
            yield f"{of}{key} was {was.get(key)}, is {now.get(key)}"


def _warnings(a: FinishedRun, b: FinishedRun, items: Sequence[Item]) -> Iterator[str]:
    if changed := changed_setup(a.record, b.record):
        yield f"the runs were made differently: {'; '.join(changed)}"
    if bare := [item.name for item in items if item.measured and not item.paths]:
        yield (
            f"{listed(bare, MOST_NAMED)}: without arrays in both runs (--array none), only the "
            "score and the statistics are compared"
        )
    if failed := [item.name for item in items if not item.compared]:
        yield f"{listed(failed, MOST_NAMED)}: failed in both runs, and not compared"
