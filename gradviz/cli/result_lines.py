"""The results of `saliency` for people: remarks while it runs, and a row for each result."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter

from gradviz.cli.console import Console
from gradviz.runs.expectations import Expectation
from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import Done, Failed, ResultLine
from gradviz.text import one_line

MOST_ALIKE = 3
"""The results whose warning is printed if many have the same, but for numbers; others are counted.
All warnings are in results.jsonl."""


def complaints(lines: Iterable[ResultLine], expected: Sequence[Expectation]) -> Iterator[str]:
    """Yield the expectations that do not hold, result by result."""
    for line in lines:
        if isinstance(line, Done):
            measured = {"score": line.score, **line.stats.content()}
            if "loss" in line.model_fields_set:
                measured["loss"] = line.loss
            for expectation in expected:
                if expectation.quantity not in measured:
                    continue  # this seed is no loss
                # A line that was read back has null for NaN.
                value = measured[expectation.quantity]
                failure = expectation.failure([float("nan") if value is None else value])
                if failure is not None:
                    yield f"--expect: {line.image} ({line.seed}): {failure}"


def lines_here(folder: RunWriter) -> list[Done | Failed]:
    """List the results in the order of the images; a shard's are those that it has written."""
    lines = folder.lines() if folder.shard is None else folder.own()
    here = [line for line in lines if isinstance(line, Done | Failed)]
    return sorted(here, key=lambda line: line.image)


def print_remarks(
    results: Iterable[ResultLine], ignored: int, out: Path, console: Console
) -> list[ResultLine]:
    """Go through the results of a run: print its remarks, and a summary at the end."""
    started = perf_counter()
    lines = []
    printed: set[tuple[str, str]] = set()
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for line in results:
        lines.append(line)
        # An image that cannot be read fails under every seed: one message is enough.
        for remark in set(remarks(line)) - printed:
            printed.add(remark)
            level, text = remark
            {"error": console.error, "note": console.note}[level](text)
        for warning in line.warnings if isinstance(line, Done) else ():
            same = alike[re.sub(r"\d+", "0", warning)]
            same.append(warning)
            if len(same) <= MOST_ALIKE:
                console.warn(f"{line.image} ({line.seed}): {warning}")
    for same in alike.values():
        if len(same) > MOST_ALIKE:
            more = len(same) - MOST_ALIKE
            console.warn(f"{more} more results, listed in results.jsonl: {same[-1]}")
    failed = sum(isinstance(line, Failed) for line in lines)
    others = f"; {ignored} other files ignored" if ignored else ""
    console.note(
        f"{len(lines) - failed} done, {failed} failed in {perf_counter() - started:.1f} s"
        f"{others}; see {out}"
    )
    return lines


def remarks(line: ResultLine) -> Iterator[tuple[str, str]]:
    """Yield the level and the text of the remarks beside warnings."""
    if isinstance(line, Failed):
        message = line.error.message
        yield "error", message if line.image in message else f"{line.image}: {message}"
    elif isinstance(line, Done) and line.layer_reason is not None:
        yield "note", f"reads the layer {line.layer}: {line.layer_reason}"


def row(line: Done, out: Path) -> str:
    """Format one line for stdout: where the files are, and the numbers to read them by."""
    folder = out / line.image
    if line.files:  # neither --view none nor --array none
        folder = (out / next(iter(line.files.values()))).parent
    score, scale = (
        "nan" if number is None else f"{number:.{digits}g}"
        for number, digits in ((line.score, 6), (line.stats.scale, 3))
    )
    found = [f"{one_line(folder)}\tscore {score}\tscale {scale}"]
    if line.over is not None:
        found.append(f"mean of {line.over.count} images")
    if line.answer is not None:
        found.append(str(line.answer))
    if line.detection is not None:
        found.append(str(line.detection))
    if line.loss is not None:
        found.append(f"loss {line.loss:.6g}")
    if line.layer is not None:
        found.append(f"layer {line.layer}")
    if line.completeness is not None:
        found.append(f"completeness gap {line.completeness:.3g}")
    if line.absorbed is not None and line.conservation is not None:
        absorbed = sum(each or 0 for each in line.absorbed.content().values())
        found.append(f"absorbed {absorbed:.3g}\tconservation gap {line.conservation:.3g}")
    return "\t".join(found)
