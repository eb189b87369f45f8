"""A run read back from its folder: its record and its results, but none of its arrays yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from gradviz.errors import UsageError
from gradviz.runs.folder import BOXES, FIELDS, RESULTS, RUN, Store
from gradviz.runs.results import Line

KINDS = ("saliency", "receptive-field")
"""The kinds of runs that have results."""

FACTS = ("status", "box", "global")
"""What is exact in a receptive field, as field.json names it."""


@dataclass(frozen=True)
class Result:
    """What a run found for one image and seed."""

    image: str
    seed: str | None
    """The spec, `pixel:X,Y` of a receptive field; None where the image failed under every seed."""
    error: str | None = None
    """Why there is nothing."""
    arrays: Mapping[str, str] = field(default_factory=dict)
    """Name → path relative to the run's folder."""
    numbers: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """`score`, `range` (min, max), `abs_mean`, `l2` and `nonfinite`, where the result has them;
    None is NaN or Inf."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The `FACTS` of a receptive field."""


@dataclass(frozen=True)
class Run:
    """One run."""

    store: Store
    record: Mapping[str, Any]
    """The content of run.json."""
    setup: Mapping[str, Any]
    """What of it can change the results, apart from which images and where the files were."""
    results: Mapping[tuple[str, str | None], Result]
    """By image and seed."""
    network: Mapping[str, Any]
    """Of a receptive-field run, the geometry of the `output`, and of the `layers` by name."""
    has_boxes: bool
    """Whether it wrote the box of every output pixel."""

    @property
    def kind(self) -> str:
        """The command that wrote it, one of `KINDS`."""
        return str(self.record["kind"])

    def find(self, image: str, seed: str | None) -> Result | None:
        """The result; that of an image which failed under every seed stands for each."""
        return self.results.get((image, seed)) or self.results.get((image, None))


def read_run(folder: Path) -> Run:
    """Read a run's record and results.

    Raises:
        UsageError: the folder holds no run of a kind in `KINDS`, or one that is not finished or
            damaged.
    """
    wanted = f"name the folder that {' or '.join(KINDS)} wrote with -o"
    if not (folder / RUN).is_file():
        raise UsageError(f"{folder}: holds no {RUN}, so it is no run; {wanted}")
    store = Store(folder)
    record = store.run()
    if record.get("kind") not in KINDS:
        raise UsageError(f"{folder}: is a run of {record.get('kind')}; {wanted}")
    if record["kind"] == "receptive-field" and not (folder / FIELDS).is_file():
        raise UsageError(f"{folder}: holds no {FIELDS}, so its run was cut short; run it again")
    try:
        setup = _setup(record)
        document = store.document(FIELDS) if record["kind"] == "receptive-field" else None
        facts = None if document is None else _facts(document)
        network = {} if document is None else _network(document)
        results = [_result(line, facts) for line in store.lines()]
        by_key = {(each.image, each.seed): each for each in results}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{folder}: one of {RUN}, {RESULTS} and {FIELDS} is damaged "
            f"({type(error).__name__}: {error}); run it again"
        ) from error
    return Run(store, record, setup, by_key, network, (folder / BOXES).is_file())


def _setup(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: record[key] for key in ("versions", "model", "preprocess", "settings")}
    # Of files, what they held: a baseline is often made in another folder.
    kept["model"] = {k: v for k, v in kept["model"].items() if k not in ("path", "card")}
    kept["files"] = {Path(path).name: digest for path, digest in record["files"].items()}
    return kept


def _facts(document: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (each["image"], "pixel:{},{}".format(*each["pixel"])): {key: each[key] for key in FACTS}
        for each in document["fields"]
    }


def _network(document: Mapping[str, Any]) -> dict[str, Any]:
    layers = {layer["name"]: _geometry(layer) for layer in document["layers"]}
    return {"output": _geometry(document["geometry"]), "layers": layers}


def _geometry(found: Mapping[str, Any]) -> dict[str, Any]:
    # What makes a field global has other names in other formats and versions of torch.
    return {key: value for key, value in found.items() if key != "global_through"}


def _result(line: Line, facts: Mapping[tuple[str, str], dict[str, Any]] | None) -> Result:
    image, seed = line["image"], line["seed"]
    if line["status"] == "error":
        return Result(image, seed, error=str(line["error"]["message"]))
    arrays = {
        name.removesuffix(".npy"): path
        for name, path in line["files"].items()
        if path.endswith(".npy")
    }
    for path in map(PurePosixPath, arrays.values()):
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{path} is outside the folder")
    return Result(
        image,
        seed,
        arrays=arrays,
        numbers=_numbers(line) if facts is None else {},
        facts={} if facts is None else facts[image, seed],
    )


def _numbers(line: Line) -> dict[str, tuple[float | None, ...]]:
    """What says something without the arrays.

    Not the share of zeros: rounding makes and unmakes them. Not the scale: it is the pictures'.
    """
    stats = line["stats"]
    found = {
        "score": (line["score"],),
        "range": (stats["min"], stats["max"]),
        "abs_mean": (stats["abs_mean"],),
        "l2": (stats["l2"],),
        "nonfinite": (stats["nonfinite"],),
    }
    return {
        name: tuple(None if value is None else float(value) for value in values)
        for name, values in found.items()
    }
