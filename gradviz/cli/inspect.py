"""`gradviz inspect`: what a model is, and how its gradient flows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isfinite, log10
from typing import TYPE_CHECKING, Annotated

import typer

from gradviz.cli import options
from gradviz.cli.console import columns, reporting
from gradviz.cli.each import over_models
from gradviz.cli.saliency import EPILOG as SEEDS
from gradviz.errors import ExitCode, UsageError
from gradviz.runs.expectations import parse_expectation
from gradviz.seeds.seed import ask_for_boxes, check_labels, parse_seed

if TYPE_CHECKING:
    from gradviz.runs.schema import InspectDocument

EPILOG = SEEDS

INSPECTED_QUANTITIES: dict[str, Callable[[InspectDocument], list[float]]] = {
    "warnings": lambda found: [len(found.warnings)],
    "nonfinite": lambda found: [
        sum(_is_broken(layer.activation) or _is_broken(layer.gradient) for layer in found.layers)
    ],
    "dead": lambda found: [layer.dead for layer in found.layers if layer.dead is not None],
    "unreached": lambda found: [sum(layer.gradient is None for layer in found.layers)],
}
"""The quantities that an expectation can name: counts, and the share of dead channels of layers."""


def _is_broken(value: float | None) -> bool:
    return value is not None and not isfinite(value)


DECADES = 8
"""The number of cells in a full bar; each is a factor of ten."""
EIGHTHS = ("", *"▏▎▍▌▋▊▉")
"""Parts of a cell."""


def inspect(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model file, or a model card (.yaml).")
    ],
    model_options: options.ModelsOptions,
    input_options: options.InputOptions,
    inspected: options.InspectOptions,
    device_options: options.DeviceOptions,
    output: options.DocumentOptions,
    message_options: options.MessageOptions,
    image: Annotated[
        str | None, typer.Argument(metavar="[IMAGE]", help="One file; none for random input.")
    ] = None,
) -> None:
    """Check the command, load the model, look, and print what was found."""
    with reporting(message_options) as console:
        from gradviz.cli import arguments

        seed = None if inspected.seed is None else parse_seed(inspected.seed)
        size = None if inspected.input_size is None else arguments.size_from(inspected.input_size)
        if image is not None and size is not None:
            raise UsageError("--input-size is for random input; leave it out, or the image")
        expected = [
            parse_expectation(text, INSPECTED_QUANTITIES) for text in inspected.expect or ()
        ]
        source = None if image is None else arguments.one_image(image)
        recipe = arguments.recipe_from(input_options)
        others = arguments.other_inputs(model_options)

        loaded = arguments.load(model, model_options, device_options, console, recipe)
        check_labels([] if seed is None else [seed], loaded.labels)
        if seed is not None and ask_for_boxes([seed]):
            loaded = loaded.as_detector()
        preprocess = arguments.preprocess_of(
            recipe, loaded, [] if source is None else [source], console
        )
        loaded = arguments.with_others(loaded, others, preprocess, console)

        from gradviz.commands.inspect.inspection import inspect_model as look
        from gradviz.image.load import load_image

        found = look(
            loaded,
            preprocess,
            None if source is None else load_image(source, preprocess),
            seed,
            size,
            inspected.random_seed,
        )
        for warning in found.warnings:
            console.warn(warning)
        console.document(found, _page(found), output.out)
        failures = [each.failure(INSPECTED_QUANTITIES[each.quantity](found)) for each in expected]
        for failure in filter(None, failures):
            console.error(f"--expect: {failure}")
        if any(failures):
            raise typer.Exit(ExitCode.NOT_HELD)


command = options.flat(over_models("inspect", inspect))


def _page(found: InspectDocument) -> Iterator[str]:
    model = found.model
    size = model.parameters
    yield f"model   {model.path}: {model.format}; {model.trust}"
    yield f"        {size.count:,} parameters, {size.size:,} bytes"
    for entry in found.inputs:
        yield f"input   {entry.shape} {entry.source}"
    for output in found.outputs:
        key = "" if output.key is None else f" {output.key}"
        yield f"output {key} {output.shape} {output.layout}"
        if output.seeds:
            yield f"        seeds: {', '.join(output.seeds)}"
    if found.detections is not None:
        of_them = f"{found.detections.count} of them detections"
        yield f"boxes   {found.detections.boxes} suggested, {of_them} after suppression"
        yield from (f"        {each}" for each in found.detections.first)
    yield f"seed    {found.seed}"
    yield from columns(
        [
            (
                "" if rank else "class ",
                each.name,
                f"score {_number(each.score)}",
                f"share {each.percent}" if each.percent else "",
            )
            for rank, each in enumerate(found.classes)
        ]
    )
    yield from _table(found)


def _table(found: InspectDocument) -> Iterator[str]:
    yield ""
    gradients = [layer.gradient for layer in found.layers]
    rows = [("layer", "shape", "stride", "activation", "dead", "gradient", "")]
    rows += [
        (
            layer.name,
            "x".join(map(str, layer.shape)),
            "-" if layer.stride is None else "x".join(f"{step:g}" for step in layer.stride),
            _number(layer.activation),
            "-" if layer.dead is None else f"{layer.dead:.0%}",
            _number(layer.gradient),
            bar,
        )
        for layer, bar in zip(found.layers, _bars(gradients), strict=True)
    ]
    yield from columns(rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _bars(norms: Sequence[float | None]) -> Iterator[str]:
    """Draw bars: a full bar for the largest, a cell less for each factor of ten below it."""
    sizes = [norm if norm and isfinite(norm) else 0.0 for norm in norms]
    largest = max(sizes, default=0.0)
    for size in sizes:
        eighths = round(8 * (DECADES + log10(size / largest))) if size else 0
        full, part = divmod(max(0, eighths), 8)
        yield "█" * full + EIGHTHS[part]
