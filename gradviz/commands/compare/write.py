"""Writing a comparison: a picture of each array in all runs, and compare.json."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from gradviz.commands.compare.comparison import Comparison, Item
from gradviz.commands.compare.growth import can_grow, draw_growth
from gradviz.commands.compare.sides import NamedArray, sides_picture
from gradviz.errors import UsageError
from gradviz.heatmap.colours import Palette
from gradviz.runs.environment import portable_command
from gradviz.runs.names import COMPARED, GROWTH, RUN, is_result_path
from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import CompareDocument, CompareRecord, ImageName


def check_folder(folder: RunWriter, overwrite: bool) -> None:
    """Check early that a folder can be used.

    Args:
        folder: the output folder.
        overwrite: True if a run in it may be replaced.

    Raises:
        UsageError: it cannot be written; or it holds a run, and `overwrite` was not given.
    """
    folder.check(overwrite=overwrite, resume=False)
    if folder.has(RUN) and not overwrite:
        raise UsageError(
            f"{folder.out}: holds a run; give --overwrite to replace it, or another -o"
        )


def write_comparison(
    comparison: Comparison, folder: RunWriter, palette: Palette, command: Sequence[str]
) -> CompareDocument:
    """Draw the arrays that are pictures in shape beside each other, and write compare.json last.

    All differences of a seed's arrays of one name have one scale: the largest |A − B| among them.

    Args:
        comparison: the compared runs.
        folder: the output folder.
        palette: the colour maps.
        command: the command line of the program, for the record.

    Returns:
        the content of compare.json: `document` with the `files` and the `scales` of each item.

    Raises:
        UsageError: the folder is one of the runs', or the disk refuses.
    """
    for run in comparison.runs:
        if folder.path == run.folder.path:
            raise UsageError(f"{folder.out}: is one of the runs to compare; choose another -o")
    document = comparison.document()
    items = comparison.items
    images = sorted({item.image for item in items if item.image})
    record = CompareRecord(
        schema=1,
        kind="compare",
        command=portable_command(command, Path.cwd()),
        runs=document.runs,
        images=[ImageName(name=name) for name in images],
        writes=sorted({f"{name}.png" for item in items for name in item.paths}),
    )
    # A file of this name is the user's own, unless a comparison is replaced.
    folder.begin(record, documents=(COMPARED, GROWTH) if folder.has(COMPARED) else (COMPARED,))
    scales = _scales(items)
    drawn: dict[tuple[str | None, str | None, str], str] = {}
    for (image, seed, name), group in _groups(items).items():
        path = group[0].paths[name][0]
        if not is_result_path(path, image):
            raise UsageError(
                f"{comparison.runs[0].folder.out / path}: not where gradviz writes an array"
            )
        first, *later = _arrays(comparison, group, name)
        if first.values.ndim not in (2, 3) or not first.values.size:
            continue
        picture = sides_picture(first, later, scales[seed, name], palette)
        drawn[image, seed, name] = str(PurePosixPath(path).with_suffix(".png"))
        folder.save(drawn[image, seed, name], partial(picture.save, format="PNG"))
    entries = []
    for item, entry in zip(items, document.items, strict=True):
        files = {
            name: drawn[item.image, item.seed, name]
            for name in item.paths
            if (item.image, item.seed, name) in drawn
        }
        of = {name: scales[item.seed, name] for name in files}
        entries.append(entry.model_copy(update={"files": files, "scales": of}))
    document = document.model_copy(update={"items": entries})
    if can_grow(comparison):
        folder.save(GROWTH, partial(draw_growth, comparison=comparison))
        document = document.model_copy(update={"growth": GROWTH})
    folder.save_document(COMPARED, document)
    return document


def _groups(
    items: Sequence[Item],
) -> dict[tuple[str | None, str | None, str], list[Item]]:
    """Group the items whose arrays one picture shows, by image, seed and the array's name."""
    groups = defaultdict(list)
    for item in sorted(items, key=lambda item: item.run):
        for name in item.paths:
            groups[item.image, item.seed, name].append(item)
    return groups


def _arrays(comparison: Comparison, group: Sequence[Item], name: str) -> Iterator[NamedArray]:
    """Yield the first run's array of a name, and those of the later runs."""
    runs, labels = comparison.runs, comparison.labels
    yield NamedArray(labels[0], runs[0].folder.array(group[0].paths[name][0]))
    for item in group:
        yield NamedArray(labels[item.run], runs[item.run].folder.array(item.paths[name][1]))


def _scales(items: Sequence[Item]) -> dict[tuple[str | None, str], float]:
    largest: defaultdict[tuple[str | None, str], float] = defaultdict(float)
    for item in items:
        for name in item.paths:
            key = item.seed, name
            largest[key] = max(largest[key], item.measured[name]["max"])
    return largest
