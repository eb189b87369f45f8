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
from benchmarks.figure import Figure, NotHere

BENCHMARKS = (
    "startup",
    "cold",
    "onepass",
    "folder",
    "samples",
    "field",
    "first",
    "tiles",
    "gpu",
)
"""Every benchmark, in the order of the table; its module has its name."""
README = Path(__file__).parents[1] / "README.md"
WIDTHS = {"work": 46, "against": 34, "measured": 15, "wanted": 14, "holds": 5}
"""Of the columns: rows are printed as they come, so that none can wait for the widest."""


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(BENCHMARKS)}; without, all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The JSON file; else one by machine.")
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(help="Measure nothing; put the figures of this file into README.md."),
    ] = None,
) -> None:
    """Run benchmarks, print what they find, and keep it as JSON."""
    if readme is not None:
        page = README.read_text(encoding="utf-8")
        text = record.readme(readme)
        README.write_text(record.QUOTED.sub(lambda _: text, page), encoding="utf-8")
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
            for figure in import_module(f"benchmarks.{name}").figures():
                found.append(figure)
                console.print(_told(figure))
        except NotHere as reason:
            console.print(f"{name}: {reason}")
        else:
            # After each, so that a long run can be broken off.
            record.write(file, where, {name: found})
    console.print(f"kept in {escape(str(file))}", soft_wrap=True)


def _told(figure: Figure) -> Table:
    remark = f" ({figure.remark})" if figure.remark else ""
    holds = {True: "yes", False: "NO", None: ""}[figure.holds]
    return _row(figure.what + remark, figure.against, figure.measured, figure.wanted, holds)


def _row(*cells: str, style: str = "") -> Table:
    row = Table.grid(padding=(0, 2))
    for width in WIDTHS.values():
        row.add_column(width=width)
    row.add_row(*map(escape, cells), style=style)
    return row


typer.run(main)
