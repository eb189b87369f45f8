"""The command `gradviz`: one Typer app, one module per command."""

from __future__ import annotations

from typing import Annotated

import typer

from gradviz.cli import receptive_field, saliency
from gradviz.cli.options import flat
from gradviz.version import VERSION

app = typer.Typer(
    name="gradviz",
    help="See a vision model's gradients.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gradviz {VERSION}")
        raise typer.Exit


@app.callback()
def gradviz(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """See a vision model's gradients: what its output reacts to, pixel by pixel."""


app.command("receptive-field")(flat(receptive_field.receptive_field))
app.command("saliency", epilog=saliency.EPILOG)(flat(saliency.saliency))


def main() -> None:
    """Run the command line."""
    app(prog_name="gradviz")
