"""Parsing: from the text of options to the values that the core takes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gradviz.arrays import Size
from gradviz.cli.console import Console
from gradviz.cli.options import DeviceOptions, FigureOptions, InputOptions, ModelOptions
from gradviz.commands.saliency.settings import Scale, TileOption
from gradviz.errors import UsageError
from gradviz.figure.sheet import TEXT_WIDTH, Sheet
from gradviz.image.find import Source, find_images
from gradviz.image.preprocess import RECIPES, Preprocess, preprocess_from, spelled_out
from gradviz.labels import read_labels
from gradviz.layout import parse_layout
from gradviz.model.card import read_preprocess
from gradviz.strict_yaml import parse_scalar
from gradviz.text import strict_json

if TYPE_CHECKING:
    from gradviz.model.model import Model

Value = TypeVar("Value")


def scale_from(text: str) -> Scale:
    """Parse `image`, `shared` or a number.

    Raises:
        UsageError: it is none of these.
    """
    named: dict[str, Scale] = {"image": "image", "shared": "shared"}
    return _named_or_number(text, named, float, "--scale", "a number above 0")


def tile_from(text: str) -> TileOption:
    """Parse `auto`, `off` or a number of pixels.

    Raises:
        UsageError: it is none of these.
    """
    named: dict[str, TileOption] = {"auto": "auto", "off": "off"}
    return _named_or_number(text, named, int, "--tile", "a number of pixels above 0")


def _named_or_number(
    text: str,
    named: Mapping[str, Value],
    number: Callable[[str], Value],
    option: str,
    form: str,
) -> Value:
    try:
        return named[text] if text in named else number(text)
    except ValueError:
        raise UsageError(f"{option} {text}: give {', '.join(named)} or {form}") from None


@dataclass(frozen=True)
class Recipe:
    """The preprocessing as the options give it."""

    named: Preprocess | None
    """The recipe that `--preprocess` names; None if it is left to the model."""
    origin: str
    """`--preprocess` and the name."""
    flags: Mapping[str, object]
    """The single steps that are given, which override every recipe."""
    labels: tuple[str, ...] = ()
    """The names of the classes of the weights that `--preprocess` names."""

    def of(self, model: Model) -> Preprocess:
        """Put the flags over the named recipe, or else over the model's.

        The model's is that of its card, or else the one beside its weights.

        Raises:
            UsageError: the steps do not fit together, or the model's cannot be followed.
        """
        if self.named is not None:
            return self.named.overridden(self.flags, _FLAGS, self.origin)
        return model.recipe().overridden(self.flags, _FLAGS, model.preprocess_origin)

    def unknown(self, model: Model, sources: Sequence[Source]) -> bool:
        """Test if pictures enter a model of which nothing says how they are to be prepared."""
        given = self.named is not None or self.flags or model.preprocess is not None
        return not given and any(source.path.suffix.lower() not in _ARRAYS for source in sources)


_FLAGS = "the command line"
"""The origin of single steps."""

_ARRAYS = (".npy", ".pt", ".pth", ".safetensors")
"""The suffixes of tensors, which enter a model as they are."""


def recipe_from(options: InputOptions) -> Recipe:
    """Read the options of preprocessing.

    Raises:
        UsageError: one of them cannot be read.
    """
    given = {key: value for key, value in asdict(options).items() if value is not None}
    named = given.pop("preprocess", None)
    preprocess_from(given, _FLAGS)
    steps, origin = spelled_out(given), f"--preprocess {named}"
    if named is None or named in RECIPES:
        return Recipe(None if named is None else RECIPES[named], origin, steps)
    if ":" in named and not Path(named).exists():
        from gradviz.model.recipes import labels_with, recipe_named  # import torch, which is slow

        return Recipe(recipe_named(named), origin, steps, labels_with(named))
    return Recipe(read_preprocess(Path(named)), origin, steps)


def preprocess_of(
    recipe: Recipe, model: Model, sources: Sequence[Source], console: Console
) -> Preprocess:
    """Choose the preprocessing of a run, say where its steps come from, and warn if none is known.

    Args:
        recipe: the options.
        model: the model.
        sources: the images.
        console: the place of messages.

    Raises:
        UsageError: the steps do not fit together, or the model's cannot be followed.
    """
    preprocess = recipe.of(model)
    if recipe.unknown(model, sources):
        library, _, name = (model.arch or "").partition(":")
        kept = {"torchvision": " torchvision:WEIGHTS", "timm": f" timm:{name}"}.get(library, "")
        console.warn(
            f"{model.name}: its preprocessing is not known: images enter as RGB in [0, 1] at their "
            f"own size: give --preprocess{kept}, or --preprocess none if that is meant"
        )
    console.detail(f"preprocess: {strict_json(preprocess.as_dict())}")
    console.detail(f"preprocess_from: {strict_json(preprocess.origins)}")
    return preprocess


def load(
    path: str,
    options: ModelOptions,
    device_options: DeviceOptions,
    console: Console,
    recipe: Recipe,
) -> Model:
    """Load the model as the options ask, and warn of what is odd about it.

    If nothing names its classes, and it has as many as the weights that `--preprocess` names, they
    are named as those.
    """
    labels = None if options.labels is None else read_labels(options.labels)
    layout = None if options.layout is None else parse_layout(options.layout)

    import torch

    if device_options.threads is not None:
        torch.set_num_threads(device_options.threads)
    from gradviz.model.load import load_model
    from gradviz.model.model import classes_of

    model = load_model(
        Path(path),
        arch=options.arch,
        arch_args=dict(_argument(text) for text in options.arch_arg or ()),
        weights_key=options.weights_key,
        output=options.output,
        boxes=options.boxes,
        labels=labels,
        trust=options.trust,
        device=device_options.device,
        precision=device_options.precision,
    )
    for note in model.notes:
        console.warn(note)
    # What torch and the model consist of stays: looking through it for garbage takes 0.1 s a time.
    if not gc.get_freeze_count():  # once, so that nothing is kept for good in a long process
        gc.freeze()
    if not model.labels and len(recipe.labels) == classes_of(model.module):
        model = replace(model, labels=recipe.labels)
    return replace(model, layout=layout)


def other_inputs(options: ModelOptions) -> dict[str, Path]:
    """Parse `NAME=FILE` of each `--input`.

    Raises:
        UsageError: one has another form, names an input twice, or a file that is not there.
    """
    files: dict[str, Path] = {}
    for text in options.input or ():
        name, equals, file = text.partition("=")
        if not equals or not name or not file:
            raise UsageError(f"--input {text}: write it as NAME=FILE")
        if name in files:
            raise UsageError(f"--input {name}: is given twice; keep one")
        if not Path(file).exists():
            raise UsageError(f"--input {name}: {file}: no such file; check the path")
        files[name] = Path(file)
    return files


def with_others(
    model: Model, files: Mapping[str, Path], recipe: Preprocess, console: Console
) -> Model:
    """Read the model's other inputs; pictures go through the recipe of the images."""
    from gradviz.image.other_input import read_other_input

    others = [read_other_input(*each, recipe) for each in files.items()]
    for other in others:
        for note in () if other.picture is None else other.picture.notes:
            console.warn(f"--input {other.name}: {note}")
    return model.with_others(others)


def one_image(text: str) -> Source:
    """Find the only image that a path or glob names.

    Raises:
        UsageError: it names none, or several.
    """
    sources = find_images([text], None).sources
    if len(sources) > 1:
        raise UsageError(f"{text}: stands for {len(sources)} images; name one, {sources[0].path}")
    return sources[0]


def _argument(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--arch-arg {text}: write it as KEY=VALUE")
    return key, parse_scalar(value)


def pixel_from(text: str) -> tuple[bool, tuple[int, int]]:
    """Parse `X,Y` of an output pixel, or `at:X,Y` of the one over a pixel of the photo.

    Returns:
        True for a pixel of the photo, and x and y.

    Raises:
        UsageError: it is neither.
    """
    numbers = text.removeprefix("at:")
    try:
        x, y = (int(part) for part in numbers.split(","))
    except ValueError:
        raise UsageError(f"--pixel {text}: write it as X,Y or at:X,Y, such as 64,48") from None
    return numbers != text, (x, y)


def size_from(text: str) -> Size:
    """Parse `WxH` of an input, or `N` for a square.

    Raises:
        UsageError: it is neither.
    """
    try:
        numbers = [int(part) for part in text.split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        raise UsageError(f"--input-size {text}: write it as WxH, such as 512x512")
    return numbers[0], numbers[-1]


def sheet_from(options: FigureOptions) -> Sheet | None:
    """Make the choices of a figure; None if there is to be none.

    Raises:
        UsageError: one of them is given without a file.
    """
    if options.figure is None:
        chosen = {"width": options.figure_width, "columns": options.figure_columns}
        for name in (name for name, value in chosen.items() if value is not None):
            raise UsageError(f"--figure-{name}: of which figure? give --figure FILE as well")
        return None
    return Sheet(options.figure, options.figure_width or TEXT_WIDTH, options.figure_columns or 1)
