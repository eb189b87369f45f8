"""Run folders of any content, written without a model, so that every number in them is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import RunRecord, parse_line
from gradviz.text import strict_json
from tests.helpers import documents


def record(kind: str, images: list[dict[str, Any]], **settings: Any) -> RunRecord:
    given = documents.run_record(kind, images, settings={"colormap": None, **settings})
    return RunRecord.model_validate(given)


def entry(name: str, path: Path | None) -> dict[str, Any]:
    if path is None:
        return documents.image(name, path="/gone/forever.png")
    status = path.stat()
    place = str(path.absolute())
    return documents.image(name, path=place, bytes=status.st_size, modified=status.st_mtime_ns)


def picture(path: Path, width: int, height: int) -> Path:
    """A picture of a horizontal and a vertical ramp."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8)).save(path)
    return path


def saliency_run(
    folder: Path,
    arrays: Mapping[tuple[str, str], np.ndarray],
    pictures: Mapping[str, Path] | None = None,
    lines: Mapping[tuple[str, str], Mapping[str, Any]] | None = None,
    failures: Mapping[tuple[str, str], str] | None = None,
) -> Path:
    """A `saliency` run.

    Args:
        arrays: gradients by image and seed.
        pictures: the images that are still there.
        lines: what is different in the lines of results.
        failures: messages by image and seed.
    """
    out = RunWriter(folder)
    names = dict.fromkeys(image for image, _ in [*arrays, *(failures or {})])
    images = [entry(name, (pictures or {}).get(name)) for name in names]
    out.begin(record("saliency", images, clip=99.0, scale="image"))
    for n, ((image, seed), array) in enumerate(arrays.items()):
        file = f"r{n}/s/gradient.npy"
        out.save(file, lambda to, array=array: np.save(to, array))  # type: ignore[misc]
        stats = {
            "min": float(np.nanmin(array)),
            "max": float(np.nanmax(array)),
            "abs_mean": float(np.nanmean(np.abs(array))),
            "l2": 1.0,
            "zero_fraction": float((array == 0).mean()),
            "nonfinite": int((~np.isfinite(array)).sum()),
            "scale": 1.0,
        }
        changed = {"score": float(n), "stats": stats, **(lines or {}).get((image, seed), {})}
        out.append(parse_line(documents.done(image, seed, {"gradient": file}, **changed)))
    for (image, seed), message in (failures or {}).items():
        out.append(parse_line(documents.failed(image, seed, message)))
    return folder


def compare_document(path: Path, runs: tuple[Path, ...], items: list[dict[str, Any]]) -> Path:
    document = documents.compare_document(
        [str(run) for run in runs], items, warnings=["the versions differ"]
    )
    path.write_text(strict_json(document))
    return path
