"""The columns of a run's table, and its rows: one for each image and seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradviz.runs.reader import FieldResults, FinishedRun
from gradviz.runs.schema import Failed, ResultLine
from gradviz.text import strict_json

Cell = str | int | float | bool | None
Row = dict[str, Cell]
"""The cells of a row by their columns."""

KEY_COLUMNS = ("run", "image", "seed")
"""The columns that tell the rows apart."""

RESULT_COLUMNS = {
    "status": "status",
    "error": "error.type",
    "output_shape": "output_shape",
    "score": "score",
    "loss": "loss",
    "class": "class.index",
    "class_label": "class.label",
    "class_score": "class.score",
    "class_share": "class.share",
    "box_label": "detection.label",
    "box_score": "detection.score",
    "box_x0": "detection.box.0",
    "box_y0": "detection.box.1",
    "box_x1": "detection.box.2",
    "box_y1": "detection.box.3",
    "layer": "layer",
    "gated": "gated",
    "samples": "samples",
    "completeness": "completeness",
    "absorbed_biases": "absorbed.biases",
    "absorbed_constants": "absorbed.constants",
    "absorbed_epsilon": "absorbed.epsilon",
    "absorbed_softmax": "absorbed.softmax",
    "conservation": "conservation",
    "tiles": "tiles",
    "parts": "parts",
    "min": "stats.min",
    "max": "stats.max",
    "abs_mean": "stats.abs_mean",
    "l2": "stats.l2",
    "zero_fraction": "stats.zero_fraction",
    "nonfinite": "stats.nonfinite",
    "scale": "stats.scale",
    "inside": "stats.inside",
}
"""The columns of a `saliency` run, and the dotted keys of a line of results.jsonl."""

FIELD_COLUMNS = {
    "status": "line.status",
    "error": "line.error.type",
    "field": "status",
    "global": "global",
    "global_through": "global_through",
    "x0": "box.0",
    "y0": "box.1",
    "x1": "box.2",
    "y1": "box.3",
    "width": "size.0",
    "height": "size.1",
    "area": "area",
    "fill": "fill",
    "local_area": "local.area",
    "effective_20": "effective.squares.20",
    "effective_30": "effective.squares.30",
    "effective_50": "effective.squares.50",
    "effective_99": "effective.squares.99",
    "effective_x": "effective.mean.0",
    "effective_y": "effective.mean.1",
    "sigma_x": "effective.sigma.0",
    "sigma_y": "effective.sigma.1",
    "area_4_55": "effective.area_4_55",
    "replknet_20": "effective.replknet.20.ratio",
    "replknet_30": "effective.replknet.30.ratio",
    "replknet_50": "effective.replknet.50.ratio",
    "replknet_99": "effective.replknet.99.ratio",
    "nonfinite": "effective.nonfinite",
    "network_width": "geometry.size.0",
    "network_height": "geometry.size.1",
    "stride_x": "geometry.stride.0",
    "stride_y": "geometry.stride.1",
}
"""The columns of a `receptive-field` run, and the dotted keys of one of the `fields` of field.json,
beside which lie the `line` of results.jsonl and the `geometry`."""


def columns_of(run: FinishedRun) -> tuple[str, ...]:
    """List the columns of a run of this kind."""
    return (*KEY_COLUMNS, *_keys(run))


def rows_of(run: FinishedRun, name: str) -> list[Row]:
    """Make the rows of a run, in the order of the images.

    Args:
        run: the run.
        name: the name of the run in the table.
    """
    lines = sorted(run.by_key.values(), key=lambda line: line.image)
    return [row_of(run, line, name) for line in lines]


def row_of(run: FinishedRun, line: ResultLine, name: str) -> Row:
    """Make the row of one result; the cells of what it does not have are None."""
    content = _content(run, line)
    cells = {column: _cell(content, key) for column, key in _keys(run).items()}
    return {"run": name, "image": line.image, "seed": line.seed, **cells}


def _keys(run: FinishedRun) -> Mapping[str, str]:
    return FIELD_COLUMNS if isinstance(run, FieldResults) else RESULT_COLUMNS


def _content(run: FinishedRun, line: ResultLine) -> Mapping[str, Any]:
    if not isinstance(run, FieldResults):
        return line.content()
    if isinstance(line, Failed):
        return {"line": line.content()}
    entry = run.entries[line.image, line.seed].content()
    return {**entry, "line": line.content(), "geometry": run.document.geometry.content()}


def _cell(content: Any, key: str) -> Cell:
    """Find the value at a dotted key, where numbers are places in a list."""
    for part in key.split("."):
        if isinstance(content, list):
            content = content[int(part)]
        elif isinstance(content, Mapping):
            content = content.get(part)
        else:
            return None
    if isinstance(content, list | dict):
        return strict_json(content)
    cell: Cell = content
    return cell
