"""gradviz from Python: the functions behind the commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import nn

from gradviz.arrays import Size
from gradviz.backward.methods import METHODS
from gradviz.commands.receptive_field.measure import Field, FieldMeter, FieldSettings
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.result import Attribution
from gradviz.commands.saliency.run import cut, outcomes
from gradviz.commands.saliency.settings import Settings, TileOption
from gradviz.errors import UsageError
from gradviz.field.geometry import Geometry
from gradviz.image.find import Source, find_images
from gradviz.image.load import LoadedImage, load_image
from gradviz.image.other_input import OtherInput, read_other_input, with_batch
from gradviz.image.prepare import Prepared, prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture, picture_of
from gradviz.layout import parse_layout
from gradviz.model.load import wrap
from gradviz.model.model import Model
from gradviz.model.recipes import recipe_named
from gradviz.runs.results import Failure
from gradviz.seeds.seed import ask_for_boxes, check_labels, parse_seed
from gradviz.seeds.suppression import DEFAULT_RULE, Suppression

if TYPE_CHECKING:
    from gradviz.commands.explore.serve import Serving

InputValues = str | Path | np.ndarray | torch.Tensor | Image.Image
Images = str | Path | Sequence[str | Path] | np.ndarray | torch.Tensor | Image.Image


def saliency(
    model: Model | nn.Module,
    images: Images,
    seed: str | Sequence[str] = (),
    *,
    method: str = "gradient",
    layer: str | None = None,
    samples: int | None = None,
    noise: float | None = None,
    baseline: str | None = None,
    random_seed: int | None = None,
    preprocess: Preprocess | str | None = None,
    batch_size: int | None = None,
    tile: TileOption = "auto",
    inputs: Mapping[str, InputValues] | None = None,
    wrt: str | None = None,
    layout: str | None = None,
    box_score: float = Suppression.score,
    box_iou: float = Suppression.iou,
    output: bool = False,
) -> list[Attribution]:
    """Compute gradients of images: the results of `gradviz saliency`, without files.

    Args:
        model: from `gradviz.load_model`, or any eager module.
        images: files, folders or globs; or an image of Pillow's; or one tensor or array [C, H, W]
            that enters the model as it is.
        seed: one spec or several, such as `pixel:64,48`; none for the default of the output.
        method: a name of `gradviz.backward.methods.METHODS`.
        layer: where the gradient is read; None for the input, or for Grad-CAM the last map that
            every path to the output passes.
        samples: points of smoothgrad, vargrad and integrated-gradients; None for 32, and
            until the completeness gap is 0.1 %, at most 256.
        noise: of smoothgrad and vargrad, as a fraction of the input's range; None for 0.15.
        baseline: of integrated-gradients: zero (None), mean, blur, or a file.
        random_seed: of the noise; None for 0.
        preprocess: a recipe, or the name of one, such as `imagenet` or
            `torchvision:WEIGHTS`; None for that of the model's card or folder, or none.
        batch_size: images or samples per pass; None for 8, or what an exported model demands.
        tile: pixels of a tile's side, where images are computed in parts; `auto`: where it pays.
        inputs: the model's other inputs, by the name or the position of the argument: a file as
            `--input` takes it, an image of Pillow's, which goes through the recipe, or a tensor or
            array that enters as it is.
        wrt: the input of `inputs` with respect to which the gradient is taken; None for the image.
        layout: how the output of `layer` lies in memory, if the pass does not show it: `nchw`,
            `nhwc` or `tokens:P`, with P tokens before those of the image.
        box_score: the least score of a detection that a seed on boxes chooses.
        box_iou: the overlap above which a detection gives way to a better one of its class.
        output: True to keep the output of the model: `answered` of each result, which
            `picture("output")` draws.

    Returns:
        one result for each image and seed, in the order of the images, then of the seeds.

    Raises:
        GradvizError: at the first image that fails.

    Example:
        >>> import gradviz
        >>> model = gradviz.load_model("sample_models/depth.ts")
        >>> (result,) = gradviz.saliency(model, "sample_images/room_01.png", "pixel:64,48")
        >>> result.array.shape
        (3, 128, 128)
        >>> result.picture("overlay").size
        (128, 128)
    """
    model = _ready(model, layout)
    recipe = _recipe(preprocess, model)
    model = model.with_others([_other(*each, recipe) for each in (inputs or {}).items()])
    if wrt is not None:
        model.inputs.varied(wrt)
    if method not in METHODS:
        raise UsageError(f"no method is called {method!r}; use one of {', '.join(METHODS)}")
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size {batch_size}: expected at least 1")
    seeds = [parse_seed(spec) for spec in ([seed] if isinstance(seed, str) else seed)]
    check_labels(seeds, model.labels)
    rule = Suppression(box_score, box_iou)
    about_boxes = ask_for_boxes(seeds)
    if about_boxes:
        model = model.as_detector()
    settings = Settings(
        method=method,
        layer=layer,
        samples=samples,
        noise=noise,
        baseline=baseline,
        random_seed=random_seed,
        batch_size=batch_size or model.batch or Settings.batch_size,
        tile=tile,
        wrt=wrt,
        # Without a seed, a detector has its own default.
        boxes=rule if about_boxes or (not seeds and rule != DEFAULT_RULE) else None,
        array="all" if output else "npy",
    )
    explainer = Explainer(model, settings)
    one = _one(images, preprocess, model)
    if one is not None:
        names = {one.name: 0}
        found = explainer.outcomes([one], seeds)
    else:
        sources = _sources(images)
        names = {source.name: n for n, source in enumerate(sources)}
        batches = cut(sources, settings.images_at_once)
        found = outcomes(explainer, batches, recipe, seeds)
    results = []
    # What is under way ends in this call, also after a failure: left to the garbage collector, it
    # would end in any thread, which then waits for the readers of images.
    with _differentiable(), closing(found):
        for outcome in found:
            if isinstance(outcome, Failure):
                try:
                    raise outcome.error
                finally:
                    # Its traceback has this frame: a cycle would keep the tensors of the pass.
                    del outcome
            results.append(outcome)
    order = {seed.spec: n for n, seed in enumerate(seeds)}
    return sorted(results, key=lambda result: (names[result.image], order.get(result.seed, 0)))


@dataclass(frozen=True)
class ReceptiveFields:
    """The results of `gradviz receptive-field`."""

    fields: list[Field]
    """The field of each output pixel at each image, or at random input."""
    geometry: Geometry
    """The unclipped field: size, stride, padding, centre, halo."""


def receptive_field(
    model: Model | nn.Module,
    images: Images | None = None,
    pixels: Sequence[tuple[int, int]] = (),
    *,
    layer: str | None = None,
    input_size: tuple[int, int] | None = None,
    samples: int = 8,
    preprocess: Preprocess | str | None = None,
    random_seed: int = 0,
    inputs: Mapping[str, InputValues] | None = None,
    layout: str | None = None,
) -> ReceptiveFields:
    """Measure receptive fields: the results of `gradviz receptive-field`, without files.

    Args:
        model: from `gradviz.load_model`, or any eager module.
        images: files, folders or globs; or an image of Pillow's; or one tensor or array [C, H, W]
            that enters the model as it is; None for random input.
        pixels: (x, y) of output pixels; none for the one in the middle.
        layer: the layer whose output is asked about; None for the model's.
        input_size: width and height of random input; None to choose.
        samples: random inputs over which the effective field is averaged.
        preprocess: a recipe, or the name of one, such as `imagenet` or
            `torchvision:WEIGHTS`; None for that of the model's card or folder, or none.
        random_seed: the seed of random input.
        inputs: the model's other inputs, as in `saliency`.
        layout: how the output of `layer` lies in memory, if the pass does not show it, as in
            `saliency`.

    Returns:
        the field of each pixel at each image, in this order, and the geometry.

    Raises:
        GradvizError: at the first image that fails.

    Example:
        >>> import gradviz
        >>> model = gradviz.load_model("sample_models/depth.ts")
        >>> fields = gradviz.receptive_field(model, "sample_images/room_01.png", [(64, 48)])
        >>> fields.geometry.x.size
        116
        >>> fields.fields[0].local.shape
        (128, 128)
    """
    model = _ready(model, layout)
    one = None if images is None else _one(images, preprocess, model)
    recipe = _recipe(None if one is not None else preprocess, model)
    model = model.with_others([_other(*each, recipe) for each in (inputs or {}).items()])
    sources = [] if images is None or one is not None else _sources(images)

    def first_size() -> Size:
        first = load_image(sources[0], recipe) if one is None else one
        return first.prepared.frame.input

    if inputs and images is not None:  # they may fit images of one size only
        input_size = first_size()
    settings = FieldSettings(
        pixels=tuple(pixels),
        input_size=input_size,
        layer=layer,
        samples=samples,
        random_seed=random_seed,
    )
    meter = FieldMeter(model, recipe, settings)
    with _differentiable():
        meter = meter.ready(None if images is None else first_size)
        geometry = meter.geometry
        if images is None:
            return ReceptiveFields(list(meter.at_noise(geometry)), geometry)
        if one is not None:
            return ReceptiveFields(list(meter.at_image(one)), geometry)
        loaded = (load_image(source, recipe) for source in sources)
        fields = [field for image in loaded for field in meter.at_image(image)]
        return ReceptiveFields(fields, geometry)


def explore(
    model: Model | nn.Module,
    images: Images,
    against: Model | nn.Module | None = None,
    *,
    preprocess: Preprocess | str | None = None,
    inputs: Mapping[str, InputValues] | None = None,
    box_score: float = Suppression.score,
    box_iou: float = Suppression.iou,
    out: str | Path = "gradviz-out",
    host: str = "127.0.0.1",
    port: int = 0,
) -> Serving:
    """Serve the page of `gradviz explore` until it is closed, and return at once.

    While the page is open, its passes run in a thread of this process, so nothing else here should
    run the model or draw random numbers.

    Args:
        model: from `gradviz.load_model`, or any eager module.
        images: files, folders or globs; or an image of Pillow's; or one tensor or array [C, H, W]
            that enters the models as it is. What the page saves is of files alone.
        against: a second model under the same pointer.
        preprocess: a recipe, or the name of one, such as `imagenet`; None for that of each
            model's card or folder, or none.
        inputs: the models' other inputs, as in `saliency`.
        box_score: the least score of a detection that is shown and that seeds on boxes choose.
        box_iou: the overlap above which a detection gives way to a better one of its class.
        out: the folder below which the page saves.
        host: the address to listen on; the default is for this machine alone.
        port: its port; 0 for one that is free.

    Returns:
        the page: `address` is what a browser opens, and `close()` ends it, as does the end of the
        process. It is a context manager too.

    Raises:
        ModelError: starlette or uvicorn is missing.
        UsageError: no image is found, or the address cannot be listened on.

    Example:
        >>> import gradviz
        >>> model = gradviz.load_model("sample_models/depth.ts")
        >>> with gradviz.explore(model, "sample_images/room_01.png") as page:
        ...     page.address.startswith("http://127.0.0.1:")
        True
    """
    from gradviz.commands.explore.library import check_library

    check_library()
    from gradviz.commands.explore.serve import Serving
    from gradviz.commands.explore.session import ExploredModel, Session

    explored = []
    for each in (model, *([] if against is None else [against])):
        ready = _ready(each, None)
        recipe = _recipe(preprocess, ready)
        ready = ready.with_others([_other(*other, recipe) for other in (inputs or {}).items()])
        held = _one(images, preprocess, ready)
        # `saliency` does not optimise either, and its calls are what the page copies.
        explored.append(ExploredModel(ready.name, ready, recipe, held, optimize=False))
    named = repr(preprocess) if isinstance(preprocess, str) else "preprocess"
    options = [] if preprocess is None else [f"preprocess={named}"]
    options += ["inputs=inputs"] if inputs else []
    rule = Suppression(box_score, box_iou)
    of_boxes = [] if rule == DEFAULT_RULE else [f"{box_score=}", f"{box_iou=}"]
    sources = _sources(images) if explored[0].held is None else []
    session = Session(explored, sources, Path(out), options, rule, of_boxes, in_python=True)
    return Serving(session, host, port)


@contextmanager
def _differentiable() -> Iterator[None]:
    """Gradients are computed, whatever mode the caller is in."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _ready(model: Model | nn.Module, layout: str | None) -> Model:
    made = model if isinstance(model, Model) else wrap(model)
    return made if layout is None else replace(made, layout=parse_layout(layout))


def _recipe(preprocess: Preprocess | str | None, model: Model) -> Preprocess:
    if preprocess is not None:
        return recipe_named(preprocess)
    return model.recipe()


def _one(images: Images, preprocess: Preprocess | str | None, model: Model) -> LoadedImage | None:
    """The image that the caller holds; None for files."""
    if isinstance(images, Image.Image):
        recipe = _recipe(preprocess, model)
        picture = picture_of(images, background=recipe.background, max_pixels=recipe.max_pixels)
        return LoadedImage("image", prepare(picture, recipe))
    if isinstance(images, np.ndarray | torch.Tensor):
        if preprocess is not None:
            raise UsageError("a tensor enters the model as it is; preprocess needs image files")
        return LoadedImage("tensor", _as_it_is(images))
    return None


def _other(name: str, values: InputValues, recipe: Preprocess) -> OtherInput:
    """Prepare another input of a model."""
    if isinstance(values, str | Path):
        return read_other_input(name, Path(values), recipe)
    if isinstance(values, Image.Image):
        picture = picture_of(values, background=recipe.background, max_pixels=recipe.max_pixels)
        prepared = prepare(picture, recipe)
        return OtherInput(name, prepared.tensor[None], prepared)
    return OtherInput(name, with_batch(torch.as_tensor(values).detach()))


def _sources(images: object) -> Sequence[Source]:
    paths = (
        list(images) if isinstance(images, Iterable) and not isinstance(images, str) else [images]
    )
    if not all(isinstance(path, str | Path) for path in paths):
        raise UsageError(
            "images: expected paths, an image of Pillow's, or one tensor or array [C, H, W]"
        )
    return find_images([str(path) for path in paths], None).sources


LEAST_SIDE = 8
"""The least sides of an array [H, W, C] that are told from those of a tensor [C, H, W]."""


def _as_it_is(image: np.ndarray | torch.Tensor) -> Prepared:
    """Prepare a tensor [C, H, W], [1, C, H, W] or [H, W] that enters the model unchanged."""
    pixels = torch.as_tensor(image).detach().to("cpu", torch.float32).numpy()
    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    elif pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3 or not pixels.size:
        raise UsageError(f"expected a tensor [C, H, W], got {list(image.shape)}")
    if pixels.shape[2] in (1, 3, 4) and min(pixels.shape[:2]) >= LEAST_SIDE:
        raise UsageError(
            f"expected a tensor [C, H, W], got {list(image.shape)}, which looks like [H, W, C]: "
            "move the last axis to the front, or give PIL.Image.fromarray(array), which goes "
            "through preprocess"
        )
    return prepare(Picture(pixels, "array"), Preprocess())
