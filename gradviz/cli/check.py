"""`gradviz check`: is the gradient right, and how far does it reach?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isfinite, isnan
from typing import TYPE_CHECKING, Annotated

import typer

from gradviz.cli import options
from gradviz.cli.console import columns, reporting
from gradviz.cli.each import over_models
from gradviz.cli.saliency import EPILOG as SEEDS
from gradviz.errors import ExitCode
from gradviz.seeds.seed import ask_for_boxes, check_labels, parse_seed

if TYPE_CHECKING:
    from gradviz.runs.schema import CheckTest

EPILOG = SEEDS


def check(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model file, or a model card (.yaml).")
    ],
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="One image file.")],
    model_options: options.ModelsOptions,
    input_options: options.InputOptions,
    check_options: options.CheckOptions,
    device_options: options.PreciseOptions,
    output: options.DocumentOptions,
    message_options: options.MessageOptions,
) -> None:
    """Check the command, load the model, test its gradient, and print what agrees."""
    with reporting(message_options) as console:
        from gradviz.cli import arguments

        seeds = [parse_seed(spec) for spec in dict.fromkeys(check_options.seed or ())]
        recipe = arguments.recipe_from(input_options)
        others = arguments.other_inputs(model_options)
        source = arguments.one_image(image)

        automatic = device_options.precision == "auto"
        if automatic:
            device_options = replace(device_options, precision="float32")
        loaded = arguments.load(model, model_options, device_options, console, recipe)
        check_labels(seeds, loaded.labels)
        if ask_for_boxes(seeds):
            loaded = loaded.as_detector()
        preprocess = arguments.preprocess_of(recipe, loaded, [source], console)
        loaded = arguments.with_others(loaded, others, preprocess, console)

        from gradviz.commands.check.diagnosis import causes_of, place_notes
        from gradviz.commands.check.gradient_check import check_gradient as run
        from gradviz.image.load import load_image
        from gradviz.model.model import in_doubles

        if automatic:
            loaded = in_doubles(loaded)
        entered = load_image(source, preprocess)
        loaded = loaded.recognised(loaded.batch_of(entered.prepared.tensor))
        for note in (*entered.prepared.notes, *place_notes(loaded, entered, seeds)):
            console.warn(note)
        found = run(loaded, entered, seeds, check_options.random_seed)
        if found.precision != "float64":
            console.note(
                f"computed in {found.precision}: longer steps are taken, and an error of "
                f"{found.tolerance:.1%} passes"
            )
        rows = [COLUMNS, *(_row(test, found.span) for test in found.tests)]
        console.document(found, columns(rows), output.out)
        if found.unproven:
            console.error(
                f"the model detaches values, or has backward passes of its own "
                f"({', '.join(found.unproven)}): what they round away cannot be told over steps of "
                f"{found.precision}, so the gradient is not proven; use --precision float64"
            )
        for seed, cause in causes_of(loaded, entered, seeds, found.tests).items():
            console.error(
                _failure(seed, [test for test in found.tests if test.seed == seed], cause)
            )
        for seed in dict.fromkeys(test.seed for test in found.tests):
            judged = [test for test in found.tests if test.seed == seed and test.judged]
            if hidden := sum(test.ok is None for test in judged):
                # A gradient of which nothing was measured is not proven: exit 6, not 0.
                report = console.error if hidden == len(judged) else console.warn
                report(_hidden(seed, hidden, len(judged), found.precision))
        raise typer.Exit(ExitCode.DONE if found.ok else ExitCode.NOT_HELD)


command = options.flat(over_models("check", check))


COLUMNS = ("seed", "test", "expected", "measured", "error", "step", "verdict")


def _row(test: CheckTest, span: float) -> tuple[str, ...]:
    return (
        test.seed,
        test.name,
        f"{test.expected:.6g}",
        f"{test.measured:.6g}",
        f"{test.error:.1e}",
        f"{test.step:.2g}",
        _verdict(test, span),
    )


def _verdict(test: CheckTest, span: float) -> str:
    if not test.judged:
        if not test.step:
            return "linear nowhere: a kink, or noise"
        return f"linear over {test.step / span:.2g} of the input's span"
    if test.ok is None:
        return "too noisy to tell"
    if not test.ok:
        return "FAILED"
    return "ok, beside a kink" if test.kink else "ok"


def _failure(seed: str, tests: Sequence[CheckTest], cause: str) -> str:
    failed = [test for test in tests if test.ok is False]
    worst = max(failed, key=_error)
    seen = ""
    if isfinite(_error(worst)):
        seen = (
            f"; the worst, {worst.name}: the gradient predicts a slope of {worst.expected:.6g}, "
            f"the model has {worst.measured:.6g} over steps of {worst.step:.2g} "
            f"(error {worst.error:.2g})"
        )
    of = sum(test.judged for test in tests)
    return f"{seed}: {len(failed)} of {of} tests failed{seen}: {cause}"


def _error(test: CheckTest) -> float:
    """Return the error for comparison: NaN is the worst."""
    return inf if test.error is None or isnan(test.error) else test.error


def _hidden(seed: str, count: int, of: int, precision: str) -> str:
    proven = "" if count < of else ", so the gradient is not proven"
    return (
        f"{seed}: {count} of {of} slopes are too small beside the rounding of {precision} to tell"
        f"{proven}: use --precision float64, or a --seed whose output is not so large"
    )
