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


def _option(
    panel: str, help: str, metavar: str | None = None, short: str | None = None, **bounds: Any
) -> Any:
    """Declare an option; its name is that of the field that carries it, written with dashes."""
    short_name = () if short is None else (short,)
    return typer.Option(
        *short_name,
        help=escape(help),
        metavar=metavar,
        rich_help_panel=panel,
        show_default=False,
        **bounds,
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

Text = str | None


# Options of more than one command.
Out = Annotated[Path, _output("Folder. [default: gradviz-out]", short="-o")]
ColormapName = Annotated[
    Text,
    _output("Any of the cmap catalogue, such as viridis.", "NAME"),
]
Overwrite = Annotated[bool, _output("Replace the run in the folder.")]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    arch: Annotated[
        Text,
        _model(
            "A checkpoint's architecture: pkg.module:factory or path/to/file.py:factory.",
            "MODULE:FACTORY",
        ),
    ] = None
    arch_arg: Annotated[
        list[str] | None,
        _model("An argument of the factory, typed as in YAML (repeatable).", "KEY=VALUE"),
    ] = None
    weights_key: Annotated[
        Text,
        _model("Where in the checkpoint the weights are.", "KEY"),
    ] = None
    output: Annotated[
        Text,
        _model("Which of several outputs: out, 0, aux.1, predicted_depth.", "KEY"),
    ] = None
    trust: Annotated[bool, _model("Load what can run code: pickled modules and .pt2 files.")] = (
        False
    )
    no_optimize: Annotated[
        bool,
        _model("Run the model as it was loaded: batch norm is not folded into convolutions."),
    ] = False


@dataclass(frozen=True)
class InputOptions:
    """How an image becomes the tensor that enters the model."""

    preprocess: Annotated[
        Text,
        _input(
            "A whole recipe; the flags below win. [default: the model card's, or none]",
            "imagenet|none|FILE.yaml",
        ),
    ] = None
    resize: Annotated[Text, _input("Resize; N is the shorter side.", "N|WxH")] = None
    multiple: Annotated[Text, _input("Round both sides to multiples of N.", "N")] = None
    crop: Annotated[Text, _input("Keep the centre.", "N|WxH")] = None
    mean: Annotated[Text, _input("Subtracted from each channel.", "A,B,C")] = None
    std: Annotated[Text, _input("Divides each channel.", "A,B,C")] = None
    range: Annotated[
        Text,
        _input("What black and white become. [default: 0,1]", "LOW,HIGH"),
    ] = None
    channels: Annotated[
        Text,
        _input("What the model takes. [default: rgb]", "rgb|bgr|gray"),
    ] = None
    background: Annotated[
        Text,
        _input("Seen through transparent pixels. [default: 255,255,255]", "R,G,B"),
    ] = None
    max_pixels: Annotated[Text, _input("Refuse larger images.", "N")] = None


SeedSpecs = Annotated[
    list[str] | None,
    _backward(
        "What to differentiate, see below: not the random seed (repeatable). [default: ones, "
        "or top for class scores]",
        "SPEC",
    ),
]


@dataclass(frozen=True)
class BackwardOptions:
    """What is differentiated, and how."""

    seed: SeedSpecs = None
    method: Annotated[MethodName, _backward("[default: gradient]")] = "gradient"
    layer: Annotated[
        Text,
        _backward(
            "Read this layer's activation and gradient. [default: the input; for Grad-CAM the "
            "last layer that is a map]",
            "NAME",
        ),
    ] = None
    samples: Annotated[
        int | None,
        _backward(
            "Points of smoothgrad and vargrad [default: 32], integrated-gradients [default: "
            "until complete to 0.1 %].",
            "N",
            min=1,
        ),
    ] = None
    noise: Annotated[
        float | None,
        _backward(
            "Of smoothgrad and vargrad, a fraction of the input's range. [default: 0.15]", "SIGMA"
        ),
    ] = None
    baseline: Annotated[
        Text,
        _backward("Where integrated-gradients begins. [default: zero]", "zero|mean|blur|FILE"),
    ] = None
    random_seed: Annotated[
        int | None,
        _backward("Of the noise. [default: 0]", **_SEEDS),
    ] = None
    batch_size: Annotated[
        int | None,
        _backward("Images or samples per pass. [default: 8]", min=1),
    ] = None
    tile: Annotated[
        str,
        _backward(
            "Compute images in tiles of N pixels a side, which bounds the memory; auto: where "
            "it pays. [default: auto]",
            "N|auto|off",
        ),
    ] = "auto"


@dataclass(frozen=True)
class DeviceOptions:
    """Where the pass runs, and in which numbers."""

    device: Annotated[str, _backward("[default: auto]", "auto|cpu|cuda[:N]")] = "auto"
    precision: Annotated[
        str,
        _backward("float16 on CUDA only. [default: float32]", "float32|float64|bfloat16|float16"),
    ] = "float32"


@dataclass(frozen=True)
class PreciseOptions(DeviceOptions):
    """Where a check runs; in numbers as precise as the model allows."""

    precision: Annotated[
        str,
        _backward(
            "[default: float64, or float32 where the weights are constants]",
            "float32|float64|bfloat16|float16",
        ),
    ] = "auto"


@dataclass(frozen=True)
class CheckOptions:
    """Which gradients are tested."""

    seed: SeedSpecs = None
    random_seed: Annotated[
        int,
        _backward("Of the random directions. [default: 0]", **_SEEDS),
    ] = 0


@dataclass(frozen=True)
class FieldOptions:
    """Which receptive fields are measured."""

    pixel: Annotated[
        list[str] | None,
        _field("An output pixel, 0-based (repeatable). [default: the one in the middle]", "X,Y"),
    ] = None
    layer: Annotated[Text, _field("Of this layer's output.", "NAME")] = None
    layers: Annotated[bool, _field("Measure every layer: the table of sizes and strides.")] = False
    map: Annotated[bool, _field("Write boxes.npy: the box of every output pixel.")] = False
    input_size: Annotated[
        Text,
        _field("Of random input. [default: large enough]", "WxH"),
    ] = None
    samples: Annotated[
        int,
        _field("Random inputs to average over. [default: 8]", min=1),
    ] = 8
    random_seed: Annotated[int, _field("[default: 0]", **_SEEDS)] = 0
    expect: Annotated[
        list[str] | None,
        _field(
            "Exit 6 unless it holds: size, stride, halo, fill or area, such as 'size>=97' "
            "(repeatable).",
            "'QUANTITY OP N'",
        ),
    ] = None


@dataclass(frozen=True)
class InspectOptions:
    """What a model is looked at with."""

    seed: Annotated[
        Text,
        _backward(
            "What to differentiate, see below: not the random seed. [default: ones, or top "
            "for class scores]",
            "SPEC",
        ),
    ] = None
    input_size: Annotated[
        Text,
        _input("Of random input. [default: one that works]", "WxH"),
    ] = None
    random_seed: Annotated[int, _input("[default: 0]", **_SEEDS)] = 0


@dataclass(frozen=True)
class CompareOptions:
    """How two runs are compared, and where the differences are drawn."""

    metric: Annotated[
        MetricName | None,
        _comparison("What judges, see below. [default: relative; iou for receptive fields]"),
    ] = None
    tolerance: Annotated[
        float | None,
        _comparison("The farthest value that passes. [default: see below]", "N"),
    ] = None
    out: Annotated[
        Path | None,
        _output("Folder for pictures of the differences, and compare.json.", short="-o"),
    ] = None
    overwrite: Overwrite = False


@dataclass(frozen=True)
class FieldOutputOptions:
    """What a receptive-field run writes, and where."""

    out: Out = Path("gradviz-out")
    log: Annotated[bool, _output("Draw the effective field in logarithmic colours.")] = False
    colormap: ColormapName = None
    overwrite: Overwrite = False


@dataclass(frozen=True)
class ReportOptions:
    """Where the page is written."""

    out: Annotated[Path, _output("HTML file. [default: gradviz-report.html]", short="-o")] = Path(
        "gradviz-report.html"
    )


@dataclass(frozen=True)
class OutputOptions:
    """What is written, and where."""

    out: Out = Path("gradviz-out")
    view: Annotated[
        list[ViewName] | None,
        _output("A picture (repeatable). [default: heatmap, overlay]"),
    ] = None
    array: Annotated[Literal["npy", "none"], _output("Keep the numbers. [default: npy]")] = "npy"
    colormap: ColormapName = None
    clip: Annotated[
        float,
        _output("What gets the strongest colour. [default: 99]", "PERCENT"),
    ] = CLIP
    scale: Annotated[
        str,
        _output(
            "Each picture its own scale, one for all images, or this. [default: image]",
            "image|shared|NUMBER",
        ),
    ] = "image"
    frame: Annotated[
        Literal["input", "image"],
        _output("Draw in the model's pixels or the photo's. [default: input]"),
    ] = "input"
    inside: Annotated[
        Path | None,
        _output(
            "Measure the share of the energy inside: Σm² where the mask is not black / Σm², "
            "m = Σ|g| over the channels. A picture of the image's size, or a folder of them by the "
            "images' names.",
            "MASK",
        ),
    ] = None
    expect: Annotated[
        list[str] | None,
        _output(
            "Exit 6 unless it holds for every result: inside, nonfinite, zero_fraction, "
            "abs_mean, l2, min, max or score, such as 'inside>=0.5' (repeatable).",
            "'QUANTITY OP N'",
        ),
    ] = None
    figure: Annotated[
        Path | None,
        _output(
            "Also one figure for print: input, map, overlay and scale of every result.",
            "FILE.png|pdf|svg",
        ),
    ] = None
    overwrite: Overwrite = False
    resume: Annotated[bool, _output("Finish the run in the folder.")] = False
    shard: Annotated[
        Text,
        _output(
            "Do the I-th of N shares of the batches, I from 1. [default: all, or torchrun's]", "I/N"
        ),
    ] = None


@dataclass(frozen=True)
class MessageOptions:
    """Which messages are printed, and in which form the results."""

    json: Annotated[bool, _messages("One JSON document on stdout.")] = False
    quiet: Annotated[bool, _messages("Errors only.", short="-q")] = False
    verbose: Annotated[
        bool, _messages("Say what was resolved: model, preprocessing.", short="-v")
    ] = False
    debug: Annotated[bool, _messages("Show tracebacks of errors.")] = False


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
        for each in fields(groups[name]):
            (option,) = options[each.name].__metadata__
            if not any(name.startswith("--") for name in option.param_decls):
                option.param_decls = (*option.param_decls, f"--{each.name.replace('_', '-')}")
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
