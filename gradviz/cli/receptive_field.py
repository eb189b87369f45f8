"""`gradviz receptive-field`: how far an output pixel looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradviz.cli import options
from gradviz.cli.console import reporting
from gradviz.cli.each import over_models
from gradviz.errors import ExitCode, UsageError
from gradviz.text import one_line

if TYPE_CHECKING:
    from gradviz.arrays import Size
    from gradviz.runs.schema import FieldDocument, GeometryEntry

EPILOG = None

FIELD_QUANTITIES = (
    *("size", "stride", "fill", "area", "halo"),
    *("partial", "nonfinite", "squares", "sigma"),
)
"""The quantities that an expectation can name."""


def receptive_field(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model file, or a model card (.yaml).")
    ],
    model_options: options.ModelsOptions,
    input_options: options.InputOptions,
    fields: options.FieldOptions,
    device_options: options.DeviceOptions,
    output: options.FieldOutputOptions,
    figure: options.FigureOptions,
    message_options: options.MessageOptions,
    image: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IMAGE...]", help="Files, folders or globs; none for noise."),
    ] = None,
) -> None:
    """Check the command, load the model, measure, and print what was found."""
    with reporting(message_options) as console, ExitStack() as until_done:
        from gradviz.cli import arguments
        from gradviz.commands.receptive_field.print_figure import check_pixels, print_fields
        from gradviz.heatmap.colours import load_palette
        from gradviz.image.find import find_images
        from gradviz.image.frame import check_placed
        from gradviz.runs.expectations import parse_expectation
        from gradviz.runs.names import MEAN, NOISE, check_image_names
        from gradviz.runs.resume import RunWriter
        from gradviz.runs.schema import Failed
        from gradviz.runs.verdict import exit_code
        from gradviz.table.write import check_table, write_run

        named = [arguments.pixel_from(text) for text in dict.fromkeys(fields.pixel or ())]
        in_photo = "--pixel at:X,Y" if any(at for at, _ in named) else ""
        in_photo = in_photo or ("--frame image" if output.frame == "image" else "")
        if in_photo and not image:
            raise UsageError(f"{in_photo}: random input has no photo; give an image")
        size = None if fields.input_size is None else arguments.size_from(fields.input_size)
        if image and size is not None:
            raise UsageError("--input-size is that of random input; leave it out with images")
        expected = [parse_expectation(text, FIELD_QUANTITIES) for text in fields.expect or ()]
        if output.csv is not None:
            check_table(output.csv, output.overwrite)
        palette = load_palette(output.colormap)
        recipe = arguments.recipe_from(input_options)
        others = arguments.other_inputs(model_options)
        folder = RunWriter(output.out)
        sources = find_images(image, output.out).sources if image else ()
        check_image_names([source.name for source in sources])
        sheet = arguments.sheet_from(figure)
        if sheet is not None:
            check_pixels(len(named))
            # With several images there is one more, their mean.
            sheet.check(
                len(sources) + (len(sources) != 1),
                1,
                [*(source.path for source in sources), *others.values()],
            )
            sheet.check_apart(output.out, [*(source.name for source in sources), NOISE, MEAN])
        until_done.enter_context(folder.held(overwrite=output.overwrite, resume=False))

        loaded = arguments.load(model, model_options, device_options, console, recipe)
        preprocess = arguments.preprocess_of(recipe, loaded, sources, console)
        if in_photo:
            check_placed(preprocess.processor)
        loaded = arguments.with_others(loaded, others, preprocess, console)
        from gradviz.commands.receptive_field.measure import Field, FieldMeter, FieldSettings
        from gradviz.commands.receptive_field.outline import FieldOutline, lines_around
        from gradviz.commands.receptive_field.run import measure_fields, picture_reader
        from gradviz.image.load import load_image

        def first() -> Size:
            return load_image(sources[0], preprocess).prepared.frame.input

        if others and sources:  # they may fit images of one size only
            size = first()
        settings = FieldSettings(
            pixels=tuple(pixel for at, pixel in named if not at),
            at=tuple(pixel for at, pixel in named if at),
            input_size=size,
            layer=fields.layer,
            layers=fields.layers,
            map=fields.map,
            samples=fields.samples,
            log=output.log,
            frame=output.frame,
            random_seed=fields.random_seed,
        )
        with console.steps("receptive-field") as on_step:
            meter = FieldMeter(loaded, preprocess, settings, on_step)
            meter = meter.ready(first if sources else None)
            outlines: list[FieldOutline] = []

            def keep(field: Field) -> None:
                if sheet is not None:
                    outlines.append(lines_around(field))

            outcome = measure_fields(meter, sources, folder, palette, sys.argv, keep)
        if sheet is not None:
            of = Path(loaded.name).name if fields.layer is None else fields.layer
            read = picture_reader(meter, sources, folder)
            print_fields(sheet, outlines, read, f"receptive fields of {of}")
        for line in outcome.lines:
            if isinstance(line, Failed):
                console.error(f"{line.image}: {line.error.message}")
        for warning in outcome.warnings:
            console.warn(warning)
        codes = {exit_code(outcome.lines)}
        for expectation in expected:
            failure = expectation.failure(outcome.measured(expectation.quantity))
            if failure is not None:
                console.error(f"--expect: {failure}")
                codes.add(ExitCode.NOT_HELD)
        if output.csv is not None:
            write_run(output.csv, output.out)
        console.results(outcome.document, _rows(outcome.document, output.out))
        console.note(f"see {output.out}")
        raise typer.Exit(ExitCode.winner(codes))


command = options.flat(over_models("receptive-field", receptive_field))


def _rows(document: FieldDocument, out: Path) -> Iterator[str]:
    """Format the numbers to read first, for stdout."""
    for field in document.fields:
        x, y = field.pixel
        yield (
            f"{one_line(out / field.image)}/pixel-{x}-{y}\t{field.status}\tbox {field.box}"
            f"\tarea {field.area}\tlocal {field.local.area}"
        )
    yield "network" + _numbers(document.geometry)
    for layer in document.layers:
        yield layer.name + _numbers(layer)


def _numbers(geometry: GeometryEntry) -> str:
    through = geometry.global_through
    if geometry.size is None or geometry.stride is None:
        return f"\tglobal, through {through}" if through else "\tno bounded field was found"
    size, stride = (
        "x".join("?" if number is None else f"{number:g}" for number in numbers)
        for numbers in (geometry.size, geometry.stride)
    )
    return f"\tsize {size}\tstride {stride}\thalo {geometry.halo}"
