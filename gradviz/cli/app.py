"""The command `gradviz`: one Typer app, one module per command."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gradviz.cli.each import model_in_place
from gradviz.errors import UsageError
from gradviz.version import VERSION

COMMANDS = {
    "saliency": "Draw how a model's output reacts to each pixel of its images.",
    "receptive-field": "Measure how far an output pixel looks: what can matter, and what does.",
    "inspect": "Describe a model, and how its gradient flows through its layers.",
    "report": "Write one HTML page of finished runs, to look at them in a browser.",
    "explore": "Open a page: point at the output, and see what it looks at.",
    "check": "Compare a gradient with finite differences of the model: is it right, how far?",
    "compare": "Compare two runs: did gradients or receptive fields change?",
}
"""Every command and its line in `gradviz --help`; its module has its name."""


class OverModels(TyperCommand):
    """A command that may have `--each` in place of MODEL."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words behind the command's name."""
        return super().parse_args(ctx, model_in_place(args))


def make_app(wanted: str | None = None) -> typer.Typer:
    """Make the app with all its commands.

    Reading the options of every command takes longer than all of the rest of `gradviz --help`.

    Args:
        wanted: the one command whose options are read; the others get their names only. None to
            read all.
    """
    app = typer.Typer(
        name="gradviz",
        no_args_is_help=True,
        # Typer imports pydantic to read its own options, though none can stand before a command's
        # name that comes first.
        add_completion=wanted not in COMMANDS,
        add_help_option=wanted not in COMMANDS,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(gradviz)
    for name, line in COMMANDS.items():
        if wanted in (None, name):
            module = import_module(f"gradviz.cli.{name.replace('-', '_')}")
            app.command(name, cls=OverModels, help=line, epilog=module.EPILOG)(module.command)
        else:
            app.command(name, help=line)(_unused)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gradviz {VERSION}")
        raise typer.Exit


def gradviz(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """See a vision model's gradients: what its output reacts to, pixel by pixel."""


def _unused() -> None:
    """Stand in for a command that is not the wanted one."""


def main() -> None:
    """Run the command line."""
    # Collecting torch's garbage at exit would take half a second.
    atexit.register(gc.freeze)
    completing = "_GRADVIZ_COMPLETE" in os.environ
    try:
        make_app(None if completing else next(iter(sys.argv[1:]), ""))(prog_name="gradviz")
    except UsageError as error:  # the help cannot be written
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
