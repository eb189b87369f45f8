"""`gradviz explore`: a page on which one points at the output, and sees what it looks at."""

from __future__ import annotations

import os
import shlex
import sys
import webbrowser
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from gradviz.cli import options
from gradviz.cli.console import Console, reporting
from gradviz.errors import ExitCode

if TYPE_CHECKING:
    from gradviz.commands.explore.serve import Serving

EPILOG = "Ctrl-C closes the page."

REMOTE = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")
"""The variables of a shell that was reached over SSH, whose browser is elsewhere."""


def explore(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model file, or a model card (.yaml).")
    ],
    image: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Files, folders or globs.")
    ],
    model_options: options.ModelOptions,
    input_options: options.InputOptions,
    device_options: options.DeviceOptions,
    page: options.PageOptions,
    message_options: options.MessageOptions,
) -> None:
    """Load the models, serve the page, and print its address."""
    with reporting(message_options) as console:
        from gradviz.cli import arguments
        from gradviz.commands.explore.library import check_library
        from gradviz.image.find import find_images
        from gradviz.runs.schema import ExploreDocument

        check_library()
        recipe = arguments.recipe_from(input_options)
        others = arguments.other_inputs(model_options)
        found = find_images(image, page.out)

        from gradviz.commands.explore.serve import Serving
        from gradviz.commands.explore.session import ExploredModel, Session

        explored = []
        for path in (model, *([] if page.against is None else [page.against])):
            loaded = arguments.load(path, model_options, device_options, console, recipe)
            preprocess = arguments.preprocess_of(recipe, loaded, found.sources, console)
            loaded = arguments.with_others(loaded, others, preprocess, console)
            explored.append(ExploredModel(path, loaded, preprocess))
        given = options.words_of(model_options, input_options, device_options)
        session = Session(explored, found.sources, page.out, given)
        serving = Serving(session, page.host, page.port)
        document = ExploreDocument(
            schema=1, kind="explore", address=serving.address, host=serving.host, port=serving.port
        )
        console.results(document, [serving.address])
        _show(serving, page.no_browser, console)
        try:
            serving.wait()
        except KeyboardInterrupt:
            console.note("closed")
            # A pass may be running in a thread, and the end of the process would wait for it.
            sys.stdout.flush()
            os._exit(ExitCode.INTERRUPTED)


command = options.flat(explore)


def _show(serving: Serving, stay: bool, console: Console) -> None:
    """Open the page in a browser, or say how to reach it from another machine."""
    if any(name in os.environ for name in REMOTE):
        port = serving.port
        forward = shlex.join(["ssh", "-L", f"{port}:127.0.0.1:{port}"])
        console.note(
            f"this is another machine than the browser's: run {forward} HOST there, and open the "
            "address above"
        )
        return
    opened = False
    if not stay:
        with redirect_stdout(sys.stderr):
            opened = webbrowser.open(serving.address)
    if not opened:
        console.note("open the address above in a browser; Ctrl-C closes the page")
