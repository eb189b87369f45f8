"""The options of the commands, in the groups that the help shows.

A group is a frozen dataclass whose fields carry their option. A command function takes whole
groups, and `flat` shows Typer the fields of all of them as one flat signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import partial, wraps
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

import typer
from rich.markup import escape

from gradviz.backward.methods import METHODS
from gradviz.backward.sampling import RANDOM_SEEDS
from gradviz.commands.compare.metrics import METRICS
from gradviz.heatmap.clip import CLIP
from gradviz.heatmap.views import VIEW_NAMES
from gradviz.seeds.suppression import Suppression
from gradviz.text import nearest


def _option(
    panel: str,
    help: str,
    metavar: str | None = None,
    default: Any = None,
    short: str | None = None,
    **bounds: Any,
) -> Any:
    """Declare an option as a field; its flag is the field's name, written with dashes."""
    names = () if short is None else (short,)
    option = typer.Option(
        *names,
        help=escape(help),
        metavar=metavar,
        rich_help_panel=panel,
        show_default=False,
        **bounds,
    )
    return field(default=default, metadata={"option": option})


NO_VIEW = "none"
"""The name in the place of a view for no picture."""

if TYPE_CHECKING:
    MetricName: TypeAlias = str
    ViewName: TypeAlias = str
else:  # Typer lists and checks the names; a type checker cannot compute them.
    MetricName = StrEnum("MetricName", {name: name for name in METRICS})
    ViewName = StrEnum("ViewName", {name: name for name in (*VIEW_NAMES, NO_VIEW)})


def _method(name: str) -> str:
    """A name of `METHODS`; a name that is none is told with the nearest."""
    if name not in METHODS:
        hint = nearest(name, METHODS, f"use one of {', '.join(METHODS)}")
        raise typer.BadParameter(f"no method is called {name!r}; {hint}")
    return name


_model = partial(_option, "Model")
_input = partial(_option, "Input")
_backward = partial(_option, "Backward pass")
_field = partial(_option, "Fields")
_comparison = partial(_option, "Comparison")
_output = partial(_option, "Output")
_page = partial(_option, "Page")
_messages = partial(_option, "Messages")
_SEEDS: dict[str, Any] = {"min": RANDOM_SEEDS[0], "max": RANDOM_SEEDS[-1], "metavar": "N"}


def _folder(name: str | Path) -> Path:
    # Path("") is the working folder, and an unset variable of a shell does not mean that.
    if not str(name):
        raise typer.BadParameter("the name is empty; name a folder")
    return Path(name)


_FOLDER: dict[str, Any] = {"parser": _folder, "metavar": "PATH"}

Text = str | None


@dataclass(frozen=True)
class ModelOptions:
    """The model, and the options that load it."""

    arch: Text = _model(
        "A checkpoint's architecture: torchvision:NAME, timm:NAME, smp:NAME, pkg.module:factory or "
        "path/to/file.py:factory.",
        "MODULE:FACTORY",
    )
    arch_arg: list[str] | None = _model(
        "An argument of the factory, typed as in YAML (repeatable).", "KEY=VALUE"
    )
    weights_key: Text = _model("The key of the weights in the checkpoint.", "KEY")
    output: Text = _model(
        "The key of one of several outputs: out, 0, aux.1, predicted_depth.", "KEY"
    )
    boxes: Text = _model(
        "The form of a detector's boxes: two corners, a corner and the size, or the centre and the "
        "size. [default: the model card's, or the one under which they lie in the image]",
        "xyxy|xywh|cxcywh",
    )
    input: list[str] | None = _model(
        "The file of another input of the model, by its argument or position: depth=FILE, 1=FILE. "
        "A picture is preprocessed as the image, an array enters as it is (repeatable).",
        "NAME=FILE",
    )
    labels: Path | None = _model(
        "The names of the classes: a label a line, a JSON list, or {index: label} in JSON or "
        "YAML. [default: the model card's, or its folder's]",
        "FILE",
    )
    layout: Text = _model(
        "How a layer's output lies in memory, if the pass does not show it; P counts the tokens "
        "before those of the image. nchw also says that an output of three axes is a map.",
        "nchw|nhwc|tokens:P",
    )
    trust: bool = _model("Load what can run code: pickled modules and .pt2 files.", default=False)
    no_optimize: bool = _model(
        "Run the model as it was loaded: batch norm is not folded into convolutions.", default=False
    )


@dataclass(frozen=True)
class ModelsOptions(ModelOptions):
    """The model or several of them, and the options that load them."""

    each: Text = _model(
        "Several models in place of MODEL, one after the other: quote the glob. Each has a folder "
        "of its own below -o.",
        "'GLOB'",
    )


@dataclass(frozen=True)
class InputOptions:
    """The steps from an image to the tensor that enters the model."""

    preprocess: Text = _input(
        "A whole recipe; the flags below win. [default: the model card's, or its folder's, or "
        "none]",
        "imagenet|none|torchvision:WEIGHTS|timm:NAME|FILE.yaml",
    )
    resize: Text = _input("Resize; N is the shorter side, of fit:N the longer one.", "N|WxH|fit:N")
    interpolation: Text = _input(
        "The filter of the resize. [default: bilinear]", "nearest|bilinear|bicubic|lanczos"
    )
    multiple: Text = _input("Round both sides to multiples of N.", "N")
    crop: Text = _input("Keep the centre.", "N|WxH")
    pad: Text = _input("Pad to this size at the right and the bottom.", "N|WxH")
    letterbox: Text = _input(
        "Make the longer side N and pad around to a square, in gray, as YOLO does.", "N"
    )
    mean: Text = _input("Numbers subtracted from each channel.", "A,B,C")
    std: Text = _input("Divides each channel.", "A,B,C")
    range: Text = _input("The values that black and white become. [default: 0,1]", "LOW,HIGH")
    channels: Text = _input("The channels that the model takes. [default: rgb]", "rgb|bgr|gray")
    background: Text = _input(
        "The colour behind transparent pixels. [default: 255,255,255]", "R,G,B"
    )
    max_pixels: Text = _input("Refuse larger images.", "N")
    bands: Text = _input("The bands of a TIFF or an array that are drawn, from 1.", "R,G,B|N")
    page: Text = _input("The page or frame of a picture that has several. [default: 1]", "N")


def _seeds() -> Any:
    return _backward(
        "What to differentiate, see below: not the random seed (repeatable). [default: ones, "
        "top for class scores, or box:0 for detectors]",
        "SPEC",
    )


@dataclass(frozen=True)
class BoxOptions:
    """The rule by which detections are chosen."""

    box_score: float | None = _backward(
        "The least score of a detection that seeds on boxes choose. [default: 0.25]", "N"
    )
    box_iou: float | None = _backward(
        "The overlap above which a detection gives way to a better one of its class. "
        "[default: 0.5]",
        "N",
    )

    @property
    def suppression(self) -> Suppression | None:
        """The rule; None if neither option is given.

        Raises:
            UsageError: a number is not between 0 and 1.
        """
        chosen = {"score": self.box_score, "iou": self.box_iou}
        given = {name: value for name, value in chosen.items() if value is not None}
        return Suppression(**given) if given else None


@dataclass(frozen=True)
class BackwardOptions:
    """The seed, the method, and the way the passes run."""

    seed: list[str] | None = _seeds()
    wrt: Text = _backward(
        "Differentiate with respect to this --input. [default: the image]", "NAME"
    )
    method: str = _backward(
        "[default: gradient]",
        "|".join(METHODS),
        default="gradient",
        parser=_method,
        autocompletion=lambda: list(METHODS),
    )
    layer: Text = _backward(
        "Read this layer's activation and gradient. [default: the input; for Grad-CAM the "
        "last map that every path to the output passes]",
        "NAME",
    )
    samples: int | None = _backward(
        "Points of smoothgrad and vargrad [default: 32], integrated-gradients [default: "
        "until the gap is 0.1 %, at most 256].",
        "N",
        min=1,
    )
    noise: float | None = _backward(
        "Noise of smoothgrad and vargrad, as a fraction of the input's range. [default: 0.15]",
        "SIGMA",
    )
    baseline: Text = _backward(
        "The start of integrated-gradients. [default: zero]", "zero|mean|blur|FILE"
    )
    random_seed: int | None = _backward("The random seed of the noise. [default: 0]", **_SEEDS)
    batch_size: int | None = _backward("Images or samples per pass. [default: 8]", min=1)
    tile: str = _backward(
        "Compute images in tiles of N pixels a side, which bounds the memory; auto: if "
        "it pays. [default: auto]",
        "N|auto|off",
        default="auto",
    )


@dataclass(frozen=True)
class DeviceOptions:
    """The device of the pass, and its number type."""

    device: str = _backward("[default: auto]", "auto|cpu|cuda[:N]", default="auto")
    precision: str = _backward(
        "float16 on CUDA only. [default: float32]",
        "float32|float64|bfloat16|float16",
        default="float32",
    )
    threads: int | None = _backward(
        "The threads of one operation on a CPU. [default: one for each core]", "N", min=1
    )


@dataclass(frozen=True)
class PreciseOptions(DeviceOptions):
    """The device of a check; its numbers are as precise as the model allows."""

    precision: str = _backward(
        "[default: float64, or float32 if the weights are constants]",
        "float32|float64|bfloat16|float16",
        default="auto",
    )


@dataclass(frozen=True)
class CheckOptions:
    """The gradients that are tested."""

    seed: list[str] | None = _seeds()
    random_seed: int = _backward(
        "The random seed of the directions. [default: 0]", default=0, **_SEEDS
    )


@dataclass(frozen=True)
class FieldOptions:
    """The receptive fields that are measured."""

    pixel: list[str] | None = _field(
        "An output pixel, 0-based, or the one over a pixel of the photo (repeatable). [default: "
        "the one in the middle]",
        "X,Y|at:X,Y",
    )
    layer: Text = _field("Measure the fields of this layer's output.", "NAME")
    layers: bool = _field("Measure every layer: the table of sizes and strides.", default=False)
    map: bool = _field("Write boxes.npy: the box of every output pixel.", default=False)
    input_size: Text = _field("The size of random input. [default: large enough]", "WxH")
    samples: int = _field(
        "The number of random inputs to average over. [default: 8]", default=8, min=1
    )
    random_seed: int = _field("[default: 0]", default=0, **_SEEDS)
    expect: list[str] | None = _field(
        "Exit 6 unless it holds: size, stride, halo, fill, area, partial, nonfinite, squares or "
        "sigma, such as 'size>=97' (repeatable).",
        "'QUANTITY OP N'",
    )


@dataclass(frozen=True)
class InspectOptions:
    """The seed and the input of an inspection."""

    seed: Text = _backward(
        "What to differentiate, see below: not the random seed. [default: ones, top "
        "for class scores, or box:0 for detectors]",
        "SPEC",
    )
    input_size: Text = _input("The size of random input. [default: one that works]", "WxH")
    random_seed: int = _input("[default: 0]", default=0, **_SEEDS)
    expect: list[str] | None = _output(
        "Exit 6 unless it holds: warnings, nonfinite, dead or unreached, such as 'warnings==0' "
        "(repeatable).",
        "'QUANTITY OP N'",
    )


@dataclass(frozen=True)
class CompareOptions:
    """The metric of a comparison, and the folder of its pictures."""

    metric: MetricName | None = _comparison(
        "The metric that judges, see below. [default: relative-l2; iou for receptive fields]"
    )
    tolerance: float | None = _comparison(
        "The farthest value that passes. [default: see below]", "N"
    )
    out: Path | None = _output(
        "Folder for pictures of the differences, and compare.json.", short="-o", **_FOLDER
    )
    csv: Path | None = _output(
        "Also one table: a row for each image and seed, in each run.", "FILE.csv"
    )
    overwrite: bool = _output("Replace the run in the folder.", default=False)


@dataclass(frozen=True)
class FieldOutputOptions:
    """The output of a receptive-field run."""

    out: Path = _output(
        "Folder. [default: gradviz-out]", default=Path("gradviz-out"), short="-o", **_FOLDER
    )
    log: bool = _output("Draw the effective field in logarithmic colours.", default=False)
    frame: Literal["input", "image"] = _output(
        "Draw in the model's pixels or the photo's. [default: input]", default="input"
    )
    colormap: Text = _output("A map of the cmap catalogue, such as viridis.", "NAME")
    csv: Path | None = _output("Also one table: a row for each image and seed.", "FILE.csv")
    overwrite: bool = _output("Replace the run in the folder.", default=False)


@dataclass(frozen=True)
class ReportOptions:
    """The file of the page, and what it may show."""

    out: Path = _output(
        "HTML file. [default: gradviz-report.html]", default=Path("gradviz-report.html"), short="-o"
    )
    images: bool = _output(
        "Embed input images that lie outside the folders of the runs.", default=False
    )


@dataclass(frozen=True)
class PageOptions:
    """The address of the page, and what it may compare and write."""

    against: Text = _page("A second model, beside the first under one pointer.", "MODEL")
    host: str = _page(
        "The address to listen on. [default: 127.0.0.1, for this machine alone]",
        "HOST",
        default="127.0.0.1",
    )
    port: int = _page("[default: one that is free]", "N", default=0, min=0, max=65535)
    no_browser: bool = _page("Open no browser.", default=False)
    out: Path = _output(
        "The folder below which the page saves. [default: gradviz-out]",
        default=Path("gradviz-out"),
        short="-o",
        **_FOLDER,
    )


@dataclass(frozen=True)
class OutputOptions:
    """The pictures, the arrays, and the folder of a run."""

    out: Path = _output(
        "Folder. [default: gradviz-out]", default=Path("gradviz-out"), short="-o", **_FOLDER
    )
    view: list[ViewName] | None = _output(
        "A picture (repeatable), or none. [default: heatmap, overlay]"
    )
    array: Literal["npy", "float16", "all", "none"] = _output(
        "Keep the numbers; float16: compressed, with an error of at most 0.05 % of each; all: also "
        "output.npy, the model's output. [default: npy]",
        default="npy",
    )
    colormap: Text = _output("A map of the cmap catalogue, such as viridis.", "NAME")
    clip: str = _output(
        "The percentile that gets the strongest colour; energy:P weighs values by their energy: "
        "those above hold 100 - P percent of it. [default: 99]",
        "PERCENT|energy:P",
        default=str(CLIP),
    )
    scale: str = _output(
        "Each picture its own scale, one for all images, or this. [default: image]",
        "image|shared|NUMBER",
        default="image",
    )
    frame: Literal["input", "image"] = _output(
        "Draw in the model's pixels or the photo's. [default: input]", default="input"
    )
    inside: Text = _output(
        "Measure the share of the energy inside: Σm² where the mask is not black / Σm², "
        "m = Σ|g| over the channels. A picture of the image's size, or a folder of them by the "
        "images' names; or the word box, for the box of the detection itself.",
        "MASK|box",
    )
    mean_of_images: bool = _output(
        "Also the mean of the gradients and of their sizes over all images, and the spread of each "
        "statistic.",
        default=False,
    )
    expect: list[str] | None = _output(
        "Exit 6 unless it holds for every result: inside, nonfinite, zero_fraction, "
        "abs_mean, l2, min, max, score or loss, such as 'inside>=0.5' (repeatable).",
        "'QUANTITY OP N'",
    )
    csv: Path | None = _output("Also one table: a row for each image and seed.", "FILE.csv")
    overwrite: bool = _output("Replace the run in the folder.", default=False)
    resume: bool = _output("Finish the run in the folder.", default=False)
    shard: Text = _output(
        "Do the I-th of N shares of the batches, I from 1. [default: all, or torchrun's]", "I/N"
    )


@dataclass(frozen=True)
class FigureOptions:
    """The figure for print, and its measures."""

    figure: Path | None = _output(
        "Also one figure for print of all results. A PDF has pages.", "FILE.png|pdf|svg"
    )
    figure_width: float | None = _output(
        "The width of the figure in millimetres, such as 88. [default: 183]", "MM", min=30, max=1000
    )
    figure_columns: int | None = _output(
        "The results side by side in the figure. [default: 1]", "N", min=1
    )


@dataclass(frozen=True)
class DocumentOptions:
    """The file of a command that makes one document."""

    out: Path | None = _output(
        "Folder in which the document of --json is written as well, by the command's name.",
        short="-o",
        **_FOLDER,
    )


@dataclass(frozen=True)
class MessageOptions:
    """The messages that are printed, and the form of the results."""

    json: bool = _messages("One JSON document on stdout.", default=False)
    quiet: bool = _messages("Errors only.", default=False, short="-q")
    verbose: bool = _messages(
        "Print what was resolved: model, preprocessing.", default=False, short="-v"
    )
    debug: bool = _messages("Show tracebacks of errors.", default=False)
    about: str = ""
    """The model that messages are about, if there are several; no option."""


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
        types = get_type_hints(groups[name])
        for each in _options_in(groups[name]):
            option = each.metadata["option"]
            flag = f"--{each.name.replace('_', '-')}"
            if flag not in option.param_decls:
                option.param_decls = (*option.param_decls, flag)
            annotation: Any = getitem(Annotated, (types[each.name], option))
            keyword = inspect.Parameter.KEYWORD_ONLY
            parameters.append(
                inspect.Parameter(each.name, keyword, default=each.default, annotation=annotation)
            )

    @wraps(function)
    def call(**given: Any) -> None:
        grouped = {
            name: group(**{field.name: given.pop(field.name) for field in _options_in(group)})
            for name, group in groups.items()
        }
        function(**given, **grouped)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _options_in(group: Any) -> list[Field[Any]]:
    return [field for field in fields(group) if "option" in field.metadata]


def words_of(*groups: Any) -> list[str]:
    """Write the options of some groups again, as far as they are not the defaults.

    Args:
        groups: dataclasses of options.

    Returns:
        the words, as a shell takes them.
    """
    words = []
    for group in groups:
        for each in fields(group):
            value, flag = getattr(group, each.name), f"--{each.name.replace('_', '-')}"
            if value == each.default:
                continue
            if value is True:
                words.append(flag)
            else:
                values = value if isinstance(value, list) else [value]
                words += [word for one in values for word in (flag, str(one))]
    return words
