"""JSON objects that are complete: what a test does not name has a value that says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradviz.image.preprocess import Preprocess

JsonDict = dict[str, Any]


def model(**changed: Any) -> JsonDict:
    return {
        "path": "net.ts",
        "sha256": "0" * 64,
        "format": "TorchScript",
        "card": None,
        "arch": None,
        "arch_args": {},
        "weights_key": None,
        "output": None,
        "labels": [],
        "input_shape": None,
        "device": "cpu",
        "precision": "float32",
        **changed,
    }


def image(name: str, **changed: Any) -> JsonDict:
    return {"name": name, "path": f"/{name}", "bytes": 9, "modified": 1, **changed}


def run_record(kind: str, images: Sequence[JsonDict], **changed: Any) -> JsonDict:
    return {
        "schema": 2,
        "kind": kind,
        "command": ["gradviz", kind, "net.ts", "a photo.png"],
        "folder": "/somewhere",
        "versions": {"gradviz": "0", "torch": "0", "python": "0"},
        "model": model(),
        "preprocess": Preprocess().as_dict(),
        "settings": {},
        "files": {},
        "images": list(images),
        "writes": [],
        **changed,
    }


def compare_record(**changed: Any) -> JsonDict:
    return {
        "schema": 1,
        "kind": "compare",
        "command": ["gradviz"],
        "runs": [],
        "images": [],
        "writes": [],
        **changed,
    }


STATS: JsonDict = {
    "min": -2,
    "max": 8,
    "abs_mean": 2,
    "l2": 9,
    "zero_fraction": 0.25,
    "nonfinite": 0,
    "scale": 1.0,
}


def done(image: str, seed: str, files: Mapping[str, str], **changed: Any) -> JsonDict:
    """A line of a saliency run."""
    return {
        "image": image,
        "seed": seed,
        "status": "ok",
        "files": dict(files),
        "output_shape": [1, 2, 3],
        "score": 1.0,
        "stats": STATS,
        "scales": {"heatmap": 1.0},
        "warnings": [],
        **changed,
    }


def field_done(image: str, seed: str, files: Mapping[str, str]) -> JsonDict:
    """A line of a receptive-field run."""
    return {"image": image, "seed": seed, "status": "ok", "files": dict(files)}


def failed(image: str, seed: str | None, message: str = "", type: str = "ImageError") -> JsonDict:
    error = {"type": type, "message": message}
    return {"image": image, "seed": seed, "status": "error", "error": error}


def geometry(**changed: Any) -> JsonDict:
    names = ("size", "stride", "padding", "centre", "halo", "period", "global_through")
    return {**dict.fromkeys(names), **changed}


def layer(name: str, **changed: Any) -> JsonDict:
    return {"name": name, "channels": 1, **geometry(**changed)}


def field(image: str, pixel: Sequence[int], files: Mapping[str, str], **changed: Any) -> JsonDict:
    return {
        "image": image,
        "pixel": list(pixel),
        "status": "exact",
        "lost_at": [],
        "box": [0, 0, 1, 1],
        "size": [2, 2],
        "clipped": [False, False, False, False],
        "area": 4,
        "fill": 1.0,
        "global": False,
        "global_through": None,
        "local": {"area": 4},
        "effective": {
            "squares": {"50": 1},
            "mean": None,
            "sigma": None,
            "area_4_55": 0,
            "replknet": {"50": None},
            "nonfinite": 0,
        },
        "files": dict(files),
        **changed,
    }


def field_document(fields: Sequence[JsonDict], **changed: Any) -> JsonDict:
    return {
        "schema": 1,
        "kind": "receptive-field",
        "fields": list(fields),
        "geometry": geometry(),
        "layers": [],
        **changed,
    }


def compared_run(path: str, kind: str = "saliency") -> JsonDict:
    empty: JsonDict = {"model": {}, "preprocess": {}, "settings": {}, "files": {}}
    return {"path": path, "kind": kind, "versions": {}, **empty}


def item(image: str | None, seed: str | None, **changed: Any) -> JsonDict:
    return {
        "image": image,
        "seed": seed,
        "ok": True,
        "value": 0,
        "problems": [],
        "measured": {},
        "facts": {},
        **changed,
    }


def compare_document(runs: Sequence[str], items: Sequence[JsonDict], **changed: Any) -> JsonDict:
    return {
        "schema": 1,
        "kind": "compare",
        "ok": all(each["ok"] for each in items),
        "metric": "relative",
        "tolerance": 0.001,
        "runs": [compared_run(run) for run in runs],
        "warnings": [],
        "items": list(items),
        **changed,
    }


def inspect_document(layers: Sequence[JsonDict], **changed: Any) -> JsonDict:
    return {
        "schema": 1,
        "kind": "inspect",
        "model": {**model(), "trust": "safe", "parameters": {"count": 1, "bytes": 4}},
        "inputs": [{"from": "random", "shape": [1, 3, 8, 8]}],
        "outputs": [
            {
                "key": None,
                "shape": [1, 2],
                "type": "float32",
                "layout": "scores",
                "seeds": [],
                "chosen": True,
            }
        ],
        "seed": "top",
        "layers": list(layers),
        "warnings": [],
        **changed,
    }
