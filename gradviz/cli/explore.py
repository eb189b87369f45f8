"""`gradviz explore`: a page on which one points at the output, and sees what it looks at."""

from __future__ import annotations

import os
import sys
import webbrowser
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from gradviz.cli import options
from gradviz.cli.console import Console, reporting
from gradviz.errors import ExitCode
from gradviz.seeds.suppression import DEFAULT_RULE

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
    box_options: options.BoxOptions,
    device_options: options.DeviceOptions,
    page: options.PageOptions,
    message_options: options.MessageOptions,
) -> None:
    """Load the models, serve the page, and print its address."""
    with reporting(message_options) as console:
        from gradviz.cli import arguments
        from gradviz.commands.explore.library import check_library
        from gradviz.image.find import find_images

        check_library()
        rule = box_options.suppression or DEFAULT_RULE
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
            optimize = not model_options.no_optimize
            explored.append(ExploredModel(path, loaded, preprocess, optimize=optimize))
        given = options.words_of(model_options, input_options, device_options)
        of_boxes = [] if rule == DEFAULT_RULE else options.words_of(box_options)
        session = Session(explored, found.sources, page.out, given, rule, of_boxes)
        serving = Serving(session, page.host, page.port)
        try:
            _serve(serving, page, console)
        except KeyboardInterrupt:
            console.note("closed")
            # A pass may be running in a thread, and the end of the process would wait for it.
            sys.stdout.flush()
            os._exit(ExitCode.INTERRUPTED)


command = options.flat(explore)


def _serve(serving: Serving, page: options.PageOptions, console: Console) -> None:
    """Say how the page is reached, open it in a browser, and wait until it is closed."""
    from gradviz.commands.explore.guard import LOOPBACK
    from gradviz.commands.explore.serve import in_address
    from gradviz.runs.schema import ExploreDocument

    if serving.open_to_others:
        console.warn(
            f"--host {page.host}: other machines reach the page, and nothing is encrypted; "
            "without --host it is for this machine alone"
        )
    remote = any(name in os.environ for name in REMOTE)
    if remote:
        forward = f"ssh -L {serving.port}:{in_address(serving.near)}:{serving.port} HOST"
        as_it_is = serving.name.lower() in LOOPBACK  # where ssh listens there
        change = "" if as_it_is else f" with 127.0.0.1 in place of {serving.name}"
        console.note(
            f"from the machine of your browser, run {forward}, and open this address{change}:"
        )
    document = ExploreDocument(
        schema=1, kind="explore", address=serving.address, host=serving.host, port=serving.port
    )
    console.results(document, [serving.address], despite_quiet=True)
    opened = False
    if not remote and not page.no_browser:
        with redirect_stdout(sys.stderr):
            opened = webbrowser.open(serving.address)
    console.note(f"{'' if opened else 'open the address in a browser; '}Ctrl-C closes the page")
    serving.wait()
