"""Run folders of any content, written without a model, so that every number in them is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gradviz.image.preprocess import Preprocess
from gradviz.runs.folder import Store
from gradviz.text import strict_json

MODEL = {"path": "net.ts", "format": "TorchScript", "sha256": "0" * 64, "device": "cpu"}


def record(kind: str, images: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "kind": kind,
        "command": ["gradviz", kind, "net.ts", "a photo.png"],
        "folder": "/somewhere",
        "versions": {"gradviz": "0", "torch": "0", "python": "0"},
        "model": {**MODEL, "precision": "float32"},
        "preprocess": Preprocess().as_dict(),
        "settings": {"colormap": None, **settings},
        "files": {},
        "images": images,
        "writes": [],
    }


def entry(name: str, path: Path | None) -> dict[str, Any]:
    if path is None:
        return {"name": name, "path": "/gone/forever.png", "bytes": 1, "modified": 1}
    status = path.stat()
    return {
        "name": name,
        "path": str(path.absolute()),
        "bytes": status.st_size,
        "modified": status.st_mtime_ns,
    }


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
    store = Store(folder)
    names = dict.fromkeys(image for image, _ in [*arrays, *(failures or {})])
    images = [entry(name, (pictures or {}).get(name)) for name in names]
    store.begin(record("saliency", images, clip=99.0, scale="image"))
    for n, ((image, seed), array) in enumerate(arrays.items()):
        file = f"r{n}/s/gradient.npy"
        store.save(file, lambda out, array=array: np.save(out, array))  # type: ignore[misc]
        store.append(
            {
                "image": image,
                "seed": seed,
                "status": "ok",
                "files": {"gradient": file},
                "output_shape": [1, 2, 3],
                "score": float(n),
                "stats": {
                    "min": float(np.nanmin(array)),
                    "max": float(np.nanmax(array)),
                    "abs_mean": float(np.nanmean(np.abs(array))),
                    "l2": 1.0,
                    "zero_fraction": float((array == 0).mean()),
                    "nonfinite": int((~np.isfinite(array)).sum()),
                    "scale": 1.0,
                },
                "scales": {"heatmap": 1.0},
                "warnings": [],
                **((lines or {}).get((image, seed), {})),
            }
        )
    for (image, seed), message in (failures or {}).items():
        error = {"type": "ImageError", "message": message}
        store.append({"image": image, "seed": seed, "status": "error", "error": error})
    return folder


def compare_document(path: Path, runs: tuple[Path, Path], items: list[dict[str, Any]]) -> Path:
    document = {
        "schema": 1,
        "kind": "compare",
        "ok": all(item["ok"] for item in items),
        "metric": "relative",
        "tolerance": 0.001,
        "runs": [{"path": str(run), "kind": "saliency"} for run in runs],
        "warnings": ["the versions differ"],
        "items": items,
    }
    path.write_text(strict_json(document))
    return path
