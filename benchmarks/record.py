"""Measurements that are kept: JSON with their machine, and the table of docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.measurement import Measurement
from gradviz.text import strict_json
from gradviz.version import VERSION

RESULTS = Path(__file__).parent / "results"
"""Where measurements are kept, a file for each machine."""

Measurements = Mapping[str, Sequence[Measurement]]
"""What each benchmark found."""
Environment = dict[str, Any]


def environment() -> Environment:
    """What measurements depend on, beside the code."""
    cuda = torch.cuda.is_available()
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_build": _build(),
        "gradviz": VERSION,
        "date": datetime.now(UTC).date().isoformat(),
    }


def file_of(where: Environment) -> Path:
    """The file that keeps what is taken on a machine, named by its processor and device."""
    parts = [where["cpu"], f"{where['cores']} cores"]
    if where["device"] != "cpu":
        parts.append(where["device"])
    return RESULTS / f"{re.sub(r'[^a-z0-9]+', '-', ' '.join(parts).lower()).strip('-')}.json"


def write(file: Path, where: Environment, measurements: Measurements) -> None:
    """Keep measurements; other benchmarks' stay in the file if they are of the same environment.

    Raises:
        OSError: the file cannot be written.
    """
    kept: dict[str, Any] = {}
    if file.exists():
        document = json.loads(file.read_text(encoding="utf-8"))
        if {**document["environment"], "date": None} == {**where, "date": None}:
            kept = document["measurements"]
    new = {name: [_as_dict(each) for each in some] for name, some in measurements.items()}
    text = strict_json({"environment": where, "measurements": {**kept, **new}}, indent=2)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8")


def read(file: Path) -> tuple[Environment, Measurements]:
    """What `write` kept."""
    document = json.loads(file.read_text(encoding="utf-8"))
    return document["environment"], {
        name: [_measurement(each) for each in some]
        for name, some in document["measurements"].items()
    }


def quotation(file: Path) -> str:
    """The part of docs/benchmarks.md that quotes a file: machine, and measurements with a bound."""
    where, measurements = read(file)
    device = "" if where["device"] == "cpu" else f" and {where['device']}"
    rows = [
        f"| {each.what} | {each.against or '–'} | {each.wanted} {each.unit} | "
        f"{each.measured}{'' if each.holds else ' (falls short)'} |"
        for some in measurements.values()
        for each in some
        if each.wanted
    ]
    return "\n".join(
        [
            f"Taken on {where['cores']} cores of {where['cpu']}{device} with torch "
            f"{where['torch']}; [all figures, round by round](../benchmarks/results/{file.name}).",
            "",
            "| work | against | wanted | measured |",
            "|---|---|---|---|",
            *(row.replace("  ", " ") for row in rows),
            "",
        ]
    )


QUOTED = re.compile(r"^Taken on [^|]*?\n\n(?:\|.*\n)+", re.MULTILINE)
"""The part of docs/benchmarks.md that quotes a file."""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _build() -> list[str]:
    """What torch was built with, less the flags of its compiler."""
    lines = (line.strip(" -") for line in torch.__config__.show().splitlines()[1:])
    return [line for line in lines if line and not line.startswith("Build settings")]


def _as_dict(measurement: Measurement) -> dict[str, Any]:
    told = {"value": measurement.value, "wanted": measurement.wanted, "holds": measurement.holds}
    return asdict(measurement) | told


def _measurement(kept: Mapping[str, Any]) -> Measurement:
    names = Measurement.__dataclass_fields__
    return Measurement(**{name: kept[name] for name in names if name != "values"}, values=_of(kept))


def _of(kept: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(float("nan") if value is None else value for value in kept["values"])
