"""`gradviz saliency`: images in, heatmaps and gradients out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gradviz.cli import options
from gradviz.cli.console import reporting
from gradviz.cli.each import over_models
from gradviz.errors import ExitCode, UsageError
from gradviz.heatmap.views import OUTPUT, VIEWS
from gradviz.seeds.kinds import KINDS
from gradviz.seeds.seed import Seed, ask_for_boxes, check_labels, parse_seed
from gradviz.seeds.suppression import DEFAULT_RULE, Suppression
from gradviz.text import strict_json

if TYPE_CHECKING:
    from gradviz.commands.saliency.settings import Settings
    from gradviz.runs.expectations import Expectation

EPILOG = "Seeds: what SPEC can be.\n\n" + "\n\n".join(
    escape(f"{kind.form}: {kind.meaning}.") for kind in KINDS.values()
)
EPILOG += (
    "\n\nSeeds add up: 'class:cat - 0.6*class:dog'. Terms are separated by a + or - with spaces "
    "around it, and may have a factor."
)

RESULT_QUANTITIES = (
    "inside",
    "nonfinite",
    "zero_fraction",
    "abs_mean",
    "l2",
    "min",
    "max",
    "score",
    "loss",
)
"""The quantities that an expectation can name."""


def saliency(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model file, or a model card (.yaml).")
    ],
    image: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Files, folders or globs.")
    ],
    model_options: options.ModelsOptions,
    input_options: options.InputOptions,
    backward: options.BackwardOptions,
    box_options: options.BoxOptions,
    device_options: options.DeviceOptions,
    output: options.OutputOptions,
    figure: options.FigureOptions,
    message_options: options.MessageOptions,
) -> None:
    """Check the command, load the model, run, and print the results."""
    with reporting(message_options) as console, ExitStack() as until_done:
        from gradviz.cli import arguments, result_lines
        from gradviz.commands.saliency.pointing import OWN_BOX, find_masks
        from gradviz.commands.saliency.print_figure import count_panels, print_results
        from gradviz.image.find import find_images
        from gradviz.image.frame import check_placed
        from gradviz.runs.names import MEAN, check_image_names
        from gradviz.runs.resume import RunWriter
        from gradviz.runs.schema import Done, Failed, SaliencyDocument
        from gradviz.runs.shards import shard_here
        from gradviz.runs.verdict import exit_code
        from gradviz.table.write import check_table, write_run

        # Errors of the command are found before torch is imported.
        seeds = [parse_seed(spec) for spec in dict.fromkeys(backward.seed or ())]
        others = arguments.other_inputs(model_options)
        settings = _settings(seeds, model_options, backward, output, others)
        settings = replace(settings, boxes=_suppression(seeds, box_options))
        expected = _expected(output, seeds)
        recipe = arguments.recipe_from(input_options)
        folder = RunWriter(output.out, shard_here(output.shard, os.environ))
        found = find_images(image, output.out)
        names = [source.name for source in found.sources]
        check_image_names([*names, MEAN] if settings.mean_of_images else names)
        if settings.mean_of_images and MEAN in names:
            raise UsageError(f"an image cannot be called {MEAN}: its folder has that name")
        if settings.mean_of_images and len(names) < 2:
            raise UsageError(f"--mean-of-images: of several images; there is one, {names[0]}")
        targets = [file for seed in seeds for file in seed.files(names)]
        own = settings.inside in (None, OWN_BOX)
        masks = {} if own else find_masks(Path(str(settings.inside)), found.sources)
        if output.csv is not None:
            if folder.shard is not None:
                raise UsageError(
                    f"--csv {output.csv}: one shard has not all results; leave it out, and give it "
                    "with --resume and without --shard when all are done"
                )
            check_table(output.csv, output.overwrite or output.resume)
        sheet = arguments.sheet_from(figure)
        if sheet is not None:
            if folder.shard is not None:
                raise UsageError(
                    f"--figure {sheet.path}: one shard has not all results; leave it out"
                )
            if settings.array == "none":
                raise UsageError("--figure draws from the arrays; leave out --array none")
            results = len(found.sources) * (len(seeds) or 1)
            read = [
                *(source.path for source in found.sources),
                *masks.values(),
                *targets,
                *others.values(),
            ]
            sheet.check(results, count_panels(settings), read)
            sheet.check_apart(output.out, names)
        until_done.enter_context(folder.held(overwrite=output.overwrite, resume=output.resume))

        loaded = arguments.load(model, model_options, device_options, console, recipe)
        check_labels(seeds, loaded.labels)
        if ask_for_boxes(seeds):
            loaded = loaded.as_detector()
        preprocess = arguments.preprocess_of(recipe, loaded, found.sources, console)
        if masks or output.frame == "image" or any(seed.at_photo for seed in seeds):
            check_placed(preprocess.processor)
        loaded = arguments.with_others(loaded, others, preprocess, console)
        if loaded.batch is not None:
            if backward.batch_size not in (None, loaded.batch):
                raise UsageError(
                    f"{model}: was exported for batches of {loaded.batch}; leave out --batch-size"
                )
            settings = replace(settings, batch_size=loaded.batch)
        console.detail(f"model: {strict_json(loaded.describe())}")
        console.detail(f"settings: {strict_json(asdict(settings))}")

        from gradviz.commands.saliency.run import Job, SaliencyRun

        job = Job(loaded, found.sources, preprocess, seeds, settings, masks, sys.argv)
        here = sum(map(len, job.batches(folder.shard))) * job.results_per_image
        with (
            SaliencyRun(job, folder, output.resume, console.show_points) as run,
            closing(console.progress(run, here, "saliency", settings.sampling.most)) as coming,
        ):
            lines = result_lines.print_remarks(coming, found.ignored, output.out, console)
        if sheet is not None:
            print_results(sheet, run.writer, Path(loaded.name).name, loaded.unit)
        if output.csv is not None:
            write_run(output.csv, output.out)
        written = result_lines.lines_here(folder)
        document = SaliencyDocument(schema=1, kind="saliency", run=run.record, results=written)
        done = (line for line in written if isinstance(line, Done))
        console.results(document, (result_lines.row(line, output.out) for line in done))
        for line in written:
            if isinstance(line, Done) and line.over:
                for warning in line.warnings:
                    console.warn(f"{line.image} ({line.seed}): {warning}")
            # It was drawn or averaged last, and could not be.
            if isinstance(line, Failed) and line not in lines:
                for _, text in result_lines.remarks(line):
                    console.error(text)
        codes = {exit_code(written)}
        for complaint in result_lines.complaints(lines, expected):
            console.error(complaint)
            codes.add(ExitCode.NOT_HELD)
        raise typer.Exit(ExitCode.winner(codes))


command = options.flat(over_models("saliency", saliency))


def _settings(
    seeds: Sequence[Seed],
    model: options.ModelOptions,
    backward: options.BackwardOptions,
    output: options.OutputOptions,
    others: Mapping[str, Path],
) -> Settings:
    """Make the run's settings, as far as they do not depend on the model."""
    from gradviz.cli import arguments
    from gradviz.commands.saliency.pointing import OWN_BOX
    from gradviz.commands.saliency.settings import Settings
    from gradviz.heatmap.clip import parse_clip
    from gradviz.heatmap.colours import load_palette

    if output.overwrite and output.resume:
        raise UsageError("--overwrite and --resume contradict each other; give one of them")
    views = Settings.views
    if backward.wrt is not None and _is_no_picture(backward.wrt, seeds, output, others):
        views = tuple(view for view in views if not VIEWS[view].over_input)
    settings = Settings(
        seeds=tuple(seed.spec for seed in seeds),
        method=str(backward.method),
        views=_views(output, views),
        array=output.array,
        colormap=output.colormap,
        clip=parse_clip(output.clip),
        scale=arguments.scale_from(output.scale),
        frame=output.frame,
        inside=output.inside,
        batch_size=backward.batch_size or Settings.batch_size,
        tile=arguments.tile_from(backward.tile),
        optimize=not model.no_optimize,
        layer=backward.layer,
        samples=backward.samples,
        noise=backward.noise,
        baseline=backward.baseline,
        random_seed=backward.random_seed,
        wrt=backward.wrt,
        mean_of_images=True if output.mean_of_images else None,
    )
    if settings.inside == OWN_BOX and not (seeds and all(seed.of_one_box for seed in seeds)):
        raise UsageError(
            f"--inside {OWN_BOX}: the box of which detection? give --seed box:N or object:NAME, "
            f"and no sum; a file of that name is ./{OWN_BOX}"
        )
    load_palette(settings.colormap)
    settings.sampling  # noqa: B018  reads a baseline's file, if one is named
    return settings


def _views(output: options.OutputOptions, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the views that are asked for.

    Raises:
        UsageError: `none` is one of several.
    """
    given = tuple(dict.fromkeys(str(view) for view in output.view or default))
    if options.NO_VIEW not in given:
        return given
    if len(given) > 1:
        raise UsageError("--view none: contradicts the other views; leave it out, or them")
    return ()


def _suppression(seeds: Sequence[Seed], chosen: options.BoxOptions) -> Suppression | None:
    """Make the rule by which detections are chosen; None if no seed is about any.

    Raises:
        UsageError: an option is for detections only, or seeds are about detections and others
            cannot be.
    """
    rule = chosen.suppression
    # Without a seed, a detector has its own default.
    if ask_for_boxes(seeds) or (rule and not seeds):
        return rule or DEFAULT_RULE
    if rule is not None:
        option = "--box-iou" if chosen.box_score is None else "--box-score"
        raise UsageError(f"{option}: is for detections; give --seed box:N or object:NAME")
    return None


def _is_no_picture(
    wrt: str, seeds: Sequence[Seed], output: options.OutputOptions, others: Mapping[str, Path]
) -> bool:
    """Return True if nothing can be drawn over an input, and refuse options that would.

    Raises:
        UsageError: `--input` does not give it, or an option needs a picture.
    """
    from gradviz.image.array import is_array

    if wrt not in others:
        given = ", ".join(others) or "there is none"
        raise UsageError(f"--wrt {wrt}: name an input that --input gives: {given}")
    if not is_array(others[wrt]):
        return False
    needs = {
        **{f"--view {view}": _over_input(view) for view in _views(output, ())},
        "--frame image": output.frame == "image",
        "--inside": output.inside is not None,
        **{f"--seed {seed.spec}": seed.at_photo for seed in seeds},
    }
    for option in (option for option, given in needs.items() if given):
        raise UsageError(f"--wrt {wrt}: {others[wrt]} is no picture; leave out {option}")
    return True


def _over_input(view: str) -> bool:
    return view == OUTPUT or VIEWS[view].over_input


def _expected(output: options.OutputOptions, seeds: Sequence[Seed]) -> list[Expectation]:
    from gradviz.runs.expectations import parse_expectation

    expected = [parse_expectation(text, RESULT_QUANTITIES) for text in output.expect or ()]
    if output.inside is None and any(each.quantity == "inside" for each in expected):
        raise UsageError("--expect inside: inside of what? name a mask with --inside")
    if any(each.quantity == "loss" for each in expected) and not any(s.of_losses for s in seeds):
        raise UsageError("--expect loss: which loss? give --seed loss:NAME=TARGET")
    return expected
