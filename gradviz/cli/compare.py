"""`gradviz compare`: what changed between two runs, and does it matter?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gradviz.cli.console import columns, reporting
from gradviz.cli.options import CompareOptions, MessageOptions, flat
from gradviz.commands.compare.metrics import METRICS
from gradviz.errors import ExitCode, UsageError
from gradviz.text import one_line

if TYPE_CHECKING:
    from gradviz.commands.compare.comparison import Comparison, Item

EPILOG = "Metrics, and their tolerances.\n\n" + "\n\n".join(
    escape(f"{each.name} ({'>=' if each.larger_is_nearer else '<='} {each.tolerance:g}): ")
    + escape(f"{each.meaning}.")
    for each in METRICS.values()
)

FORMER_DEFAULT, NEW_DEFAULT = "relative", "relative-l2"
"""The default metric of saliency runs in version 0.1, and now."""


def compare_runs(
    run_a: Annotated[
        Path, typer.Argument(metavar="RUN_A", help="The folder of the earlier run, A.")
    ],
    run_b: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_B...", help="The folder of the later run, B; several, each against A."
        ),
    ],
    options: CompareOptions,
    message_options: MessageOptions,
) -> None:
    """Check the command, compare, and print what differs."""
    with reporting(message_options) as console, ExitStack() as until_done:
        from gradviz.commands.compare.comparison import compare
        from gradviz.commands.compare.table import comparison_columns, comparison_rows
        from gradviz.commands.compare.write import check_folder, write_comparison
        from gradviz.heatmap.colours import load_palette
        from gradviz.runs.resume import RunWriter
        from gradviz.table.write import check_table, write_table

        if options.tolerance is not None and not options.tolerance >= 0:
            raise UsageError(f"--tolerance {options.tolerance:g}: give a number, at least 0")
        if options.csv is not None:
            check_table(options.csv, options.overwrite)
        palette = load_palette()
        folder = None if options.out is None else RunWriter(options.out)
        if folder is not None:
            check_folder(folder, options.overwrite)
            until_done.enter_context(folder.held(overwrite=options.overwrite, resume=False))

        metric = None if options.metric is None else str(options.metric)
        found = compare(run_a, *run_b, metric=metric, tolerance=options.tolerance)
        if options.tolerance is not None and metric is None and found.metric.name == NEW_DEFAULT:
            console.note(
                f"note: --tolerance {options.tolerance:g} is of {NEW_DEFAULT}, the default metric, "
                f"which was {FORMER_DEFAULT} in 0.1; give --metric to choose"
            )
        for warning in found.warnings:
            console.warn(warning)
        document = (
            found.document()
            if folder is None
            else write_comparison(found, folder, palette, sys.argv)
        )
        if options.csv is not None:
            write_table(options.csv, comparison_columns(found), comparison_rows(found))
        console.results(document, _table(found))
        if found.failed:
            console.error(_failure(found, options.out))
            raise typer.Exit(ExitCode.NOT_HELD)


command = flat(compare_runs)


def _table(found: Comparison) -> Iterator[str]:
    """Format the items in columns of even width, the worst first; programs read --json."""
    metrics = [found.metric, *(each for each in METRICS.values() if each is not found.metric)]
    several = len(found.runs) > 2
    rows = [
        (
            "verdict",
            *(["run"] if several else []),
            "image",
            "seed",
            "array",
            *(each.name for each in metrics),
            "",
        )
    ]
    for item in found.items:
        worst = item.worst(found.metric)
        values = {} if worst is None else item.measured[worst[0]]
        rows.append(
            (
                _verdict(item, found),
                *([one_line(found.labels[item.run])] if several else []),
                one_line(item.image or "(network)"),
                one_line(item.seed or "-"),
                "-" if worst is None else one_line(worst[0]),
                *(f"{values[m.name]:.3g}" if m.name in values else "-" for m in metrics),
                one_line("; ".join(item.problems)),
            )
        )
    yield from columns(rows)


def _verdict(item: Item, found: Comparison) -> str:
    if not item.compared:
        return "-"
    return "ok" if item.ok(found.metric, found.tolerance) else "DIFFERS"


def _failure(found: Comparison, out: Path | None) -> str:
    from gradviz.commands.compare.causes import cause

    worst = found.failed[0]
    first, later = (found.runs[place] for place in (0, worst.run))
    a, b = first.folder.out, later.folder.out
    where = f" in {b}" if len(found.runs) > 2 else ""
    see = "draw where with -o" if out is None else f"see {out}"
    return (
        f"{len(found.failed)} of {len(found.items)} differ; the worst is {worst.name}{where}: "
        f"{_why(worst, found)}; {cause(first.record, later.record)}; {see}, and if it is meant, "
        f"keep {b} in place of {a}"
    )


def _why(item: Item, found: Comparison) -> str:
    if item.problems:
        return item.problems[0]
    worst = item.worst(found.metric)
    assert worst is not None  # an item differs in a problem or in a value
    name, value = worst
    bound = "below" if found.metric.larger_is_nearer else "above"
    return f"{found.metric.name} of {name} is {value:.3g}, {bound} --tolerance {found.tolerance:g}"
