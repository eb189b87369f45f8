"""Run benchmarks, print what they find, and keep it: `make bench`, or by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import record
from benchmarks.measurement import Measurement, NotHere

BENCHMARKS = (
    "startup",
    "cold_start",
    "each",
    "single_pass",
    "folder",
    "samples",
    "field",
    "first_answer",
    "explore",
    "library_folders",
    "tiles",
    "agreement",
    "explore_page",
    "gpu",
)
"""Every benchmark, in the order of the table; its module has its name."""
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
WIDTHS = {"work": 46, "against": 34, "measured": 15, "wanted": 14, "holds": 5}
"""Of the columns: rows are printed as they come, so that none can wait for the widest."""


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(BENCHMARKS)}; without, all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The JSON file; else one by machine.")
    ] = None,
    quote: Annotated[
        Path | None,
        typer.Option(help="Measure nothing; quote this file in docs/benchmarks.md."),
    ] = None,
) -> None:
    """Run benchmarks, print what they find, and keep it as JSON."""
    if quote is not None:
        page = PAGE.read_text(encoding="utf-8")
        text = record.quotation(quote)
        PAGE.write_text(record.QUOTED.sub(lambda _: text, page), encoding="utf-8")
        return
    unknown = set(names or ()) - set(BENCHMARKS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: give {', '.join(BENCHMARKS)}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=sum(WIDTHS.values()) + 2 * len(WIDTHS))
    where = record.environment()
    file = out or record.file_of(where)
    console.print(_row(*WIDTHS, style="bold"))
    for name in names or BENCHMARKS:
        found = []
        try:
            for measurement in import_module(f"benchmarks.{name}").measurements():
                found.append(measurement)
                console.print(_told(measurement))
        except NotHere as reason:
            console.print(f"{name}: {reason}")
        else:
            # After each, so that a long run can be broken off.
            record.write(file, where, {name: found})
    console.print(f"kept in {escape(str(file))}", soft_wrap=True)


def _told(measurement: Measurement) -> Table:
    remark = f" ({measurement.remark})" if measurement.remark else ""
    holds = {True: "yes", False: "NO", None: ""}[measurement.holds]
    return _row(
        measurement.what + remark,
        measurement.against,
        measurement.measured,
        measurement.wanted,
        holds,
    )


def _row(*cells: str, style: str = "") -> Table:
    row = Table.grid(padding=(0, 2))
    for width in WIDTHS.values():
        row.add_column(width=width)
    row.add_row(*map(escape, cells), style=style)
    return row


typer.run(main)
