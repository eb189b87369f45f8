"""A saliency run: many images in batches, results kept as they are done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from gradviz.commands.saliency.explain import explain
from gradviz.commands.saliency.plan import Plan, Tick, plan_of, silent
from gradviz.commands.saliency.result import Attribution, Outcome, failures
from gradviz.commands.saliency.settings import Settings
from gradviz.commands.saliency.tiled import Local, Room, in_memory
from gradviz.commands.saliency.write import Recorder, seed_folders
from gradviz.errors import ImageError, ModelError
from gradviz.heatmap.colours import load_palette
from gradviz.image.find import Source
from gradviz.image.load import LoadedImage, load
from gradviz.image.preprocess import Preprocess
from gradviz.model.fast import fast
from gradviz.model.model import Model
from gradviz.runs.folder import Store
from gradviz.runs.record import describe
from gradviz.runs.results import Line
from gradviz.runs.workers import THREADS, in_order
from gradviz.seeds.seed import Seed

Batch = Sequence[Source]

TRIAL = 1024
"""Sides of what the faster form of a model is tried on, at most."""


def cut(sources: Sequence[Source], size: int) -> list[Batch]:
    """The batches of a run, always cut from the whole list.

    They are computed or skipped as a whole, because the same image in a batch of another size
    gives slightly other numbers.
    """
    return [sources[start : start + size] for start in range(0, len(sources), size)]


def outcomes(
    model: Model,
    batches: Sequence[Batch],
    preprocess: Preprocess,
    seeds: Sequence[Seed],
    plan: Plan,
    room: Room = in_memory,
    many: bool = False,
) -> Iterator[Outcome]:
    """The gradients of all images under all seeds, batch by batch, failures among them.

    The images of the next batch are read while one is computed.

    Args:
        room: where gradients of large images are put together.
        many: whether a faster form of the model pays, where it has one.
    """
    local = Local(model, plan, room)
    read = in_order(
        partial(_read, preprocess),
        (source for batch in batches for source in batch),
        plan.batch_size,
    )
    with closing(read):
        for batch in batches:
            ready = []
            for source, image in zip(batch, read, strict=False):
                if isinstance(image, ImageError):
                    yield from failures(source.name, seeds, image)
                else:
                    ready.append(image)
            if many and ready:
                # An image that the model cannot take tells nothing: the next batch may.
                with suppress(ModelError):
                    x = ready[0].prepared.part(_corner(ready[0]))[None]
                    local.model = fast(model, x.to(model.device, model.dtype))
                    many = False
            yield from explain(local.model, ready, seeds, plan, local)


def _corner(image: LoadedImage) -> tuple[int, int, int, int]:
    _, height, width = image.prepared.shape
    return 0, 0, min(width, TRIAL), min(height, TRIAL)


def _read(preprocess: Preprocess, source: Source) -> LoadedImage | ImageError:
    try:
        return load(source, preprocess)
    except ImageError as error:
        return error


def run(
    model: Model,
    sources: Sequence[Source],
    preprocess: Preprocess,
    seeds: Sequence[Seed],
    settings: Settings,
    store: Store,
    command: Sequence[str] = (),
    resume: bool = False,
    masks: Mapping[str, Path] | None = None,
    tick: Tick = silent,
) -> Iterator[Line]:
    """Explain every image, keep what comes out, and yield each line of results.jsonl.

    Args:
        masks: those of `find_masks`; None measures nothing inside.
        tick: is told how many points of an image are done, where a method takes several.

    Raises:
        UsageError: the folder holds another run, or the disk refuses.
    """
    recorder = Recorder(
        store,
        settings,
        preprocess,
        load_palette(settings.colormap),
        seed_folders([seed.spec for seed in seeds]),
        {source.name: source for source in sources},
        masks or {},
    )
    batches = shared_out(sources, settings, store)
    plan = plan_of(settings, tick)
    arrays = [f"{name}.npy" for name in plan.arrays] if settings.array == "npy" else []
    record = describe(
        "saliency",
        model,
        sources,
        preprocess,
        settings,
        [*arrays, *(f"{view}.png" for view in settings.views)],
        command,
        [
            *(file for file in (*(seed.file for seed in seeds), plan.file) if file is not None),
            *(masks or {}).values(),
        ],
    )
    if resume:
        whole = store.resume(record)
        batches, kept = _unfinished(batches, whole, results_per_image=len(seeds) or 1)
        if settings.scale == "shared":  # of which an image may have gone
            kept = [recorder.rescaled(line) for line in kept]
        store.replace(kept)
        yield from kept
    else:
        store.begin(record)
    many = plan.fast(len(sources))
    found = outcomes(model, batches, preprocess, seeds, plan, store.room, many)
    # A few results are drawn and written while the next ones are computed.
    with closing(in_order(recorder.line, found, 2 * THREADS, weight)) as lines:
        for line in lines:
            store.append(line)
            yield line
    _put_in_order(store, sources, seeds)
    if settings.scale == "shared":
        with store.alone():
            # Whoever is the last of several shards draws for all of them.
            if {line["image"] for line in store.lines()} == {source.name for source in sources}:
                largest = _largest_scales(store.lines())
                for part in store.parts():
                    part.replace(_share_scales(part.own(), largest, recorder))


def weight(outcome: Outcome) -> float:
    """How much memory a result takes while it waits and is drawn, in millions of numbers."""
    return outcome.array.size / 1e6 if isinstance(outcome, Attribution) else 0


def shared_out(sources: Sequence[Source], settings: Settings, store: Store) -> Sequence[Batch]:
    """The batches of a run that are to be done here."""
    batches = cut(sources, settings.batch_size)
    return batches if store.shard is None else store.shard.of(batches)


def _put_in_order(store: Store, sources: Sequence[Source], seeds: Sequence[Seed]) -> None:
    """The results by image and seed: images of other sizes in a batch take turns of their own."""
    place = {source.name: n for n, source in enumerate(sources)}
    turn = {seed.spec: n for n, seed in enumerate(seeds)}
    lines = store.own()
    ordered = sorted(lines, key=lambda line: (place[line["image"]], turn.get(line["seed"], 0)))
    if ordered != lines:
        store.replace(ordered)


def _unfinished(
    batches: Sequence[Batch], whole: Iterable[Line], results_per_image: int
) -> tuple[list[Batch], list[Line]]:
    """The batches that lack a result, and the lines of those that lack none."""
    lines = defaultdict(list)
    for line in whole:
        lines[line["image"]].append(line)
    left: list[Batch] = []
    kept: list[Line] = []
    for batch in batches:
        if all(len(lines[source.name]) == results_per_image for source in batch):
            kept.extend(line for source in batch for line in lines[source.name])
        else:
            left.append(batch)
    return left, kept


Scales = Mapping[tuple[str, str], float]
"""Of each seed and view."""


def _largest_scales(lines: Iterable[Line]) -> Scales:
    """One scale for all images of a seed: the largest of their own."""
    largest: defaultdict[tuple[str, str], float] = defaultdict(float)
    for line in lines:
        for view, scale in line.get("scales", {}).items():
            key = line["seed"], view
            largest[key] = max(largest[key], scale)
    return largest


def _share_scales(lines: Iterable[Line], scales: Scales, recorder: Recorder) -> Iterator[Line]:
    for line in lines:
        if line["status"] == "ok":
            shared = {view: scales[line["seed"], view] for view in line["scales"]}
            yield recorder.redrawn({**line, "scales": shared})
        else:
            yield line
