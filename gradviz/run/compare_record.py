"""A comparison becomes a folder: a picture of each difference, and compare.json."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from gradviz.errors import UsageError
from gradviz.heatmap.colours import Palette
from gradviz.heatmap.difference import difference_picture
from gradviz.run.compare import Comparison, Item
from gradviz.run.store import RUN, Store
from gradviz.text import strict_json

DOCUMENT = "compare.json"


def check(store: Store, overwrite: bool) -> None:
    """Notice an unusable folder early.

    Raises:
        UsageError: it cannot be written, or holds a run that nobody gave up.
    """
    store.check(overwrite=overwrite, resume=False)
    if (store.out / RUN).exists() and not overwrite:
        raise UsageError(f"{store.out}: holds a run; give --overwrite to replace it, or another -o")


def record(
    comparison: Comparison, store: Store, palette: Palette, command: Sequence[str]
) -> dict[str, Any]:
    """Draw each pair of arrays that are pictures in shape, and write compare.json last.

    All pictures of a seed's arrays of one name have one scale: the largest |A − B| among them.

    Returns:
        the content of compare.json: `document` with the `files` and the `scales` of each item.

    Raises:
        UsageError: the folder is one of the two runs', or the disk refuses.
    """
    for run in comparison.runs:
        if store.out.resolve() == run.store.out.resolve():
            raise UsageError(f"{store.out}: is one of the runs to compare; choose another -o")
    document = comparison.document()
    items = comparison.items
    store.begin(
        {
            "schema": 1,
            "kind": "compare",
            "command": list(command),
            "runs": document["runs"],
            "images": [{"name": name} for name in sorted({i.image for i in items if i.image})],
            "writes": sorted({f"{name}.png" for item in items for name in item.paths}),
        },
        documents=(DOCUMENT,),
    )
    scales = _scales(items)
    for item, entry in zip(items, document["items"], strict=True):
        entry["files"] = {}
        entry["scales"] = {}
        for name, paths in item.paths.items():
            a, b = (run.store.array(p) for run, p in zip(comparison.runs, paths, strict=True))
            if a.ndim not in (2, 3) or not a.size:
                continue
            scale = scales[item.seed, name]
            picture = difference_picture(a, b, scale, palette)
            entry["files"][name] = str(PurePosixPath(paths[0]).with_suffix(".png"))
            entry["scales"][name] = scale
            store.save(entry["files"][name], partial(picture.save, format="PNG"))
    text = strict_json(document, indent=2) + "\n"
    store.save(DOCUMENT, lambda file: file.write(text.encode()))
    return document


def _scales(items: Sequence[Item]) -> dict[tuple[str | None, str], float]:
    largest: defaultdict[tuple[str | None, str], float] = defaultdict(float)
    for item in items:
        for name in item.paths:
            key = item.seed, name
            largest[key] = max(largest[key], item.measured[name]["max"])
    return largest
