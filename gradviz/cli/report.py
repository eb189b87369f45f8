"""`gradviz report`: finished runs become one page for a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from gradviz.cli.console import reporting
from gradviz.cli.options import MessageOptions, ReportOptions, flat
from gradviz.errors import ExitCode, UsageError
from gradviz.text import one_line

EPILOG = None

SUFFIXES = (".html", ".htm")


def report(
    run: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Folders of runs or comparisons, or what inspect, check, compare --json printed.",
        ),
    ],
    options: ReportOptions,
    message_options: MessageOptions,
) -> None:
    """Read the runs, make the page, and write it."""
    with reporting(message_options) as console:
        out = options.out
        if out.suffix.lower() not in SUFFIXES:
            raise UsageError(f"-o {out}: a report is a page; name a file that ends in .html")
        if out.is_dir():
            raise UsageError(f"-o {out}: is a folder; name a file in it")

        from gradviz.commands.report.inputs import read_input
        from gradviz.commands.report.page import report as make
        from gradviz.files import write_whole
        from gradviz.runs.schema import ReportDocument

        inputs, missing = [], []
        for argument in dict.fromkeys(run):
            try:
                inputs.append(read_input(argument))
            except UsageError as error:
                missing.append(error)
        if not inputs:
            raise missing[0]
        left_out = [one_line(error) for error in missing]
        page = make(
            inputs,
            lambda results: console.progress(results, len(results), "report"),
            options.images,
            left_out,
        )
        # A file name may hold bytes that are not text.
        content = page.html.encode("utf-8", "backslashreplace")
        write_whole(out, lambda file: file.write(content))
        for note in page.notes:
            (console.error if note in left_out else console.warn)(note)
        document = ReportDocument(
            schema=1, kind="report", file=str(out), bytes=len(content), notes=list(page.notes)
        )
        console.results(document, [f"{one_line(out)}\t{len(content) / 2**20:.1f} MB"])
        if missing:
            raise typer.Exit(ExitCode.SOME_FAILED)


command = flat(report)
