"""The options of the commands, in the groups that the help shows.

A group is a frozen dataclass whose fields carry their `typer.Option`; a command function takes
whole groups, and `flat` shows Typer the fields of all of them as one flat signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

import typer
from rich.markup import escape

from gradviz.backward.methods import METHODS
from gradviz.backward.sampling import RANDOM_SEEDS
from gradviz.commands.compare.metrics import METRICS
from gradviz.heatmap.views import CLIP, VIEWS


def _option(panel: str, *names: str, help: str, **details: Any) -> Any:
    return typer.Option(
        *names, help=escape(help), rich_help_panel=panel, show_default=False, **details
    )


if TYPE_CHECKING:
    MethodName: TypeAlias = str
    MetricName: TypeAlias = str
    ViewName: TypeAlias = str
else:  # Typer offers and checks the names; a type checker cannot compute them.
    MethodName = StrEnum("MethodName", {name: name for name in METHODS})
    MetricName = StrEnum("MetricName", {name: name for name in METRICS})
    ViewName = StrEnum("ViewName", {name: name for name in VIEWS})

_model = partial(_option, "Model")
_input = partial(_option, "Input")
_backward = partial(_option, "Backward pass")
_field = partial(_option, "Fields")
_comparison = partial(_option, "Comparison")
_output = partial(_option, "Output")
_messages = partial(_option, "Messages")
_SEEDS: dict[str, Any] = {"min": RANDOM_SEEDS[0], "max": RANDOM_SEEDS[-1], "metavar": "N"}


# Options of more than one command.
Out = Annotated[Path, _output("-o", "--out", help="Folder. [default: gradviz-out]")]
ColormapName = Annotated[
    str | None,
    _output("--colormap", metavar="NAME", help="Any of the cmap catalogue, such as viridis."),
]
Overwrite = Annotated[bool, _output("--overwrite", help="Replace the run in the folder.")]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    arch: Annotated[
        str | None,
        _model(
            "--arch",
            metavar="MODULE:FACTORY",
            help="A checkpoint's architecture: pkg.module:factory or path/to/file.py:factory.",
        ),
    ] = None
    arch_arg: Annotated[
        list[str] | None,
        _model(
            "--arch-arg",
            metavar="KEY=VALUE",
            help="An argument of the factory, typed as in YAML (repeatable).",
        ),
    ] = None
    weights_key: Annotated[
        str | None,
        _model("--weights-key", metavar="KEY", help="Where in the checkpoint the weights are."),
    ] = None
    output: Annotated[
        str | None,
        _model(
            "--output",
            metavar="KEY",
            help="Which of several outputs: out, 0, aux.1, predicted_depth.",
        ),
    ] = None
    trust: Annotated[
        bool, _model("--trust", help="Load what can run code: pickled modules and .pt2 files.")
    ] = False
    no_optimize: Annotated[
        bool,
        _model(
            "--no-optimize",
            help="Run the model as it was loaded: batch norm is not folded into convolutions.",
        ),
    ] = False


@dataclass(frozen=True)
class InputOptions:
    """How an image becomes the tensor that enters the model."""

    preprocess: Annotated[
        str | None,
        _input(
            "--preprocess",
            metavar="imagenet|none|FILE.yaml",
            help="A whole recipe; the flags below win. [default: the model card's, or none]",
        ),
    ] = None
    resize: Annotated[
        str | None, _input("--resize", metavar="N|WxH", help="Resize; N is the shorter side.")
    ] = None
    multiple: Annotated[
        str | None, _input("--multiple", metavar="N", help="Round both sides to multiples of N.")
    ] = None
    crop: Annotated[str | None, _input("--crop", metavar="N|WxH", help="Keep the centre.")] = None
    mean: Annotated[
        str | None, _input("--mean", metavar="A,B,C", help="Subtracted from each channel.")
    ] = None
    std: Annotated[str | None, _input("--std", metavar="A,B,C", help="Divides each channel.")] = (
        None
    )
    range: Annotated[
        str | None,
        _input("--range", metavar="LOW,HIGH", help="What black and white become. [default: 0,1]"),
    ] = None
    channels: Annotated[
        str | None,
        _input("--channels", metavar="rgb|bgr|gray", help="What the model takes. [default: rgb]"),
    ] = None
    background: Annotated[
        str | None,
        _input(
            "--background",
            metavar="R,G,B",
            help="Seen through transparent pixels. [default: 255,255,255]",
        ),
    ] = None
    max_pixels: Annotated[
        str | None, _input("--max-pixels", metavar="N", help="Refuse larger images.")
    ] = None


SeedSpecs = Annotated[
    list[str] | None,
    _backward(
        "--seed",
        metavar="SPEC",
        help="What to differentiate, see below: not the random seed (repeatable). [default: ones, "
        "or top for class scores]",
    ),
]


@dataclass(frozen=True)
class BackwardOptions:
    """What is differentiated, and how."""

    seed: SeedSpecs = None
    method: Annotated[MethodName, _backward("--method", help="[default: gradient]")] = "gradient"
    layer: Annotated[
        str | None,
        _backward(
            "--layer",
            metavar="NAME",
            help="Read this layer's activation and gradient. [default: the input; for Grad-CAM the "
            "last layer that is a map]",
        ),
    ] = None
    samples: Annotated[
        int | None,
        _backward(
            "--samples",
            metavar="N",
            min=1,
            help="Points of smoothgrad and vargrad [default: 32], integrated-gradients [default: "
            "until complete to 0.1 %].",
        ),
    ] = None
    noise: Annotated[
        float | None,
        _backward(
            "--noise",
            metavar="SIGMA",
            help="Of smoothgrad and vargrad, a fraction of the input's range. [default: 0.15]",
        ),
    ] = None
    baseline: Annotated[
        str | None,
        _backward(
            "--baseline",
            metavar="zero|mean|blur|FILE",
            help="Where integrated-gradients begins. [default: zero]",
        ),
    ] = None
    random_seed: Annotated[
        int | None,
        _backward("--random-seed", **_SEEDS, help="Of the noise. [default: 0]"),
    ] = None
    batch_size: Annotated[
        int | None,
        _backward("--batch-size", min=1, help="Images or samples per pass. [default: 8]"),
    ] = None
    tile: Annotated[
        str,
        _backward(
            "--tile",
            metavar="N|auto|off",
            help="Compute images in tiles of N pixels a side, which bounds the memory; auto: where "
            "it pays. [default: auto]",
        ),
    ] = "auto"


@dataclass(frozen=True)
class DeviceOptions:
    """Where the pass runs, and in which numbers."""

    device: Annotated[
        str, _backward("--device", metavar="auto|cpu|cuda[:N]", help="[default: auto]")
    ] = "auto"
    precision: Annotated[
        str,
        _backward(
            "--precision",
            metavar="float32|float64|bfloat16|float16",
            help="float16 on CUDA only. [default: float32]",
        ),
    ] = "float32"


@dataclass(frozen=True)
class PreciseOptions(DeviceOptions):
    """Where a check runs; in numbers as precise as the model allows."""

    precision: Annotated[
        str,
        _backward(
            "--precision",
            metavar="float32|float64|bfloat16|float16",
            help="[default: float64, or float32 where the weights are constants]",
        ),
    ] = "auto"


@dataclass(frozen=True)
class CheckOptions:
    """Which gradients are tested."""

    seed: SeedSpecs = None
    random_seed: Annotated[
        int,
        _backward("--random-seed", **_SEEDS, help="Of the random directions. [default: 0]"),
    ] = 0


@dataclass(frozen=True)
class FieldOptions:
    """Which receptive fields are measured."""

    pixel: Annotated[
        list[str] | None,
        _field(
            "--pixel",
            metavar="X,Y",
            help="An output pixel, 0-based (repeatable). [default: the one in the middle]",
        ),
    ] = None
    layer: Annotated[
        str | None, _field("--layer", metavar="NAME", help="Of this layer's output.")
    ] = None
    layers: Annotated[
        bool, _field("--layers", help="Measure every layer: the table of sizes and strides.")
    ] = False
    map: Annotated[
        bool, _field("--map", help="Write boxes.npy: the box of every output pixel.")
    ] = False
    input_size: Annotated[
        str | None,
        _field("--input-size", metavar="WxH", help="Of random input. [default: large enough]"),
    ] = None
    samples: Annotated[
        int,
        _field("--samples", min=1, help="Random inputs to average over. [default: 8]"),
    ] = 8
    random_seed: Annotated[int, _field("--random-seed", **_SEEDS, help="[default: 0]")] = 0
    expect: Annotated[
        list[str] | None,
        _field(
            "--expect",
            metavar="'QUANTITY OP N'",
            help="Exit 6 unless it holds: size, stride, halo, fill or area, such as 'size>=97' "
            "(repeatable).",
        ),
    ] = None


@dataclass(frozen=True)
class InspectOptions:
    """What a model is looked at with."""

    seed: Annotated[
        str | None,
        _backward(
            "--seed",
            metavar="SPEC",
            help="What to differentiate, see below: not the random seed. [default: ones, or top "
            "for class scores]",
        ),
    ] = None
    input_size: Annotated[
        str | None,
        _input("--input-size", metavar="WxH", help="Of random input. [default: one that works]"),
    ] = None
    random_seed: Annotated[int, _input("--random-seed", **_SEEDS, help="[default: 0]")] = 0


@dataclass(frozen=True)
class CompareOptions:
    """How two runs are compared, and where the differences are drawn."""

    metric: Annotated[
        MetricName | None,
        _comparison(
            "--metric", help="What judges, see below. [default: relative; iou for receptive fields]"
        ),
    ] = None
    tolerance: Annotated[
        float | None,
        _comparison(
            "--tolerance", metavar="N", help="The farthest value that passes. [default: see below]"
        ),
    ] = None
    out: Annotated[
        Path | None,
        _output("-o", "--out", help="Folder for pictures of the differences, and compare.json."),
    ] = None
    overwrite: Overwrite = False


@dataclass(frozen=True)
class FieldOutputOptions:
    """What a receptive-field run writes, and where."""

    out: Out = Path("gradviz-out")
    log: Annotated[
        bool, _output("--log", help="Draw the effective field in logarithmic colours.")
    ] = False
    colormap: ColormapName = None
    overwrite: Overwrite = False


@dataclass(frozen=True)
class ReportOptions:
    """Where the page is written."""

    out: Annotated[
        Path, _output("-o", "--out", help="HTML file. [default: gradviz-report.html]")
    ] = Path("gradviz-report.html")


@dataclass(frozen=True)
class OutputOptions:
    """What is written, and where."""

    out: Out = Path("gradviz-out")
    view: Annotated[
        list[ViewName] | None,
        _output("--view", help="A picture (repeatable). [default: heatmap, overlay]"),
    ] = None
    array: Annotated[
        Literal["npy", "none"], _output("--array", help="Keep the numbers. [default: npy]")
    ] = "npy"
    colormap: ColormapName = None
    clip: Annotated[
        float,
        _output("--clip", metavar="PERCENT", help="What gets the strongest colour. [default: 99]"),
    ] = CLIP
    scale: Annotated[
        str,
        _output(
            "--scale",
            metavar="image|shared|NUMBER",
            help="Each picture its own scale, one for all images, or this. [default: image]",
        ),
    ] = "image"
    frame: Annotated[
        Literal["input", "image"],
        _output("--frame", help="Draw in the model's pixels or the photo's. [default: input]"),
    ] = "input"
    inside: Annotated[
        Path | None,
        _output(
            "--inside",
            metavar="MASK",
            help="Measure the share of the energy inside: Σm² where the mask is not black / Σm², "
            "m = Σ|g| over the channels. A picture of the image's size, or a folder of them by the "
            "images' names.",
        ),
    ] = None
    expect: Annotated[
        list[str] | None,
        _output(
            "--expect",
            metavar="'QUANTITY OP N'",
            help="Exit 6 unless it holds for every result: inside, nonfinite, zero_fraction, "
            "abs_mean, l2, min, max or score, such as 'inside>=0.5' (repeatable).",
        ),
    ] = None
    figure: Annotated[
        Path | None,
        _output(
            "--figure",
            metavar="FILE.png|pdf|svg",
            help="Also one figure for print: input, map, overlay and scale of every result.",
        ),
    ] = None
    overwrite: Overwrite = False
    resume: Annotated[bool, _output("--resume", help="Finish the run in the folder.")] = False
    shard: Annotated[
        str | None,
        _output(
            "--shard",
            metavar="I/N",
            help="Do the I-th of N shares of the batches, I from 1. [default: all, or torchrun's]",
        ),
    ] = None


@dataclass(frozen=True)
class MessageOptions:
    """Which messages are printed, and in which form the results."""

    json: Annotated[bool, _messages("--json", help="One JSON document on stdout.")] = False
    quiet: Annotated[bool, _messages("-q", "--quiet", help="Errors only.")] = False
    verbose: Annotated[
        bool, _messages("-v", "--verbose", help="Say what was resolved: model, preprocessing.")
    ] = False
    debug: Annotated[bool, _messages("--debug", help="Show tracebacks of errors.")] = False


def flat(function: Callable[..., None]) -> Callable[..., None]:
    """Show Typer a function's option groups as one flat signature, and call it with the groups."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in groups:
            keyword = inspect.Parameter.KEYWORD_ONLY
            parameters.append(parameter.replace(annotation=hints[name], kind=keyword))
            continue
        options = get_type_hints(groups[name], include_extras=True)
        parameters.extend(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=options[field.name],
            )
            for field in fields(groups[name])
        )

    @wraps(function)
    def call(**given: Any) -> None:
        grouped = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        function(**given, **grouped)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call
