"""The table of compared runs: the results of each, and how far they lie from the first run's."""

from __future__ import annotations

from collections.abc import Iterator

from gradviz.commands.compare.comparison import Comparison, Item
from gradviz.commands.compare.metrics import METRICS
from gradviz.table.columns import Row, columns_of, row_of


def comparison_columns(comparison: Comparison) -> list[str]:
    """List the columns: those of the runs, the verdict, and each array's metrics.

    The reasons of problems are in compare.json: they may name files of this machine.
    """
    measured = {name for item in comparison.items for name in item.measured}
    return [
        *columns_of(comparison.runs[0]),
        "ok",
        *(f"{array}_{metric}" for array in sorted(measured) for metric in METRICS),
        "problems",
    ]


def comparison_rows(comparison: Comparison) -> Iterator[Row]:
    """Yield a row for each run, image and seed, image by image; a missing result has no numbers.

    The rows of the first run have no verdict and no metrics.
    """
    items = {(item.image, item.seed, item.run): item for item in comparison.items}
    keys = {(item.image, item.seed) for item in comparison.items if item.image is not None}
    for image, seed in sorted(keys, key=str):
        for place, (run, name) in enumerate(zip(comparison.runs, comparison.labels, strict=True)):
            line = run.find(str(image), seed)
            row: Row = {"run": name, "image": image, "seed": seed}
            if line is not None:
                row = {**row_of(run, line, name), "seed": seed}
            item = items.get((image, seed, place))
            yield row if item is None else {**row, **_measured(comparison, item)}


def _measured(comparison: Comparison, item: Item) -> Row:
    return {
        "ok": item.ok(comparison.metric, comparison.tolerance) if item.compared else None,
        **{
            f"{array}_{metric}": value
            for array, values in item.measured.items()
            for metric, value in values.items()
        },
        "problems": len(item.problems),
    }
