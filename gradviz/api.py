"""gradviz from Python: the functions behind the commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gradviz.backward.methods import METHODS
from gradviz.commands.receptive_field.measure import Field, FieldMeter, FieldSettings
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.result import Attribution, Outcome
from gradviz.commands.saliency.run import cut, outcomes
from gradviz.commands.saliency.settings import Settings, TileOption
from gradviz.errors import UsageError
from gradviz.field.geometry import Geometry
from gradviz.image.find import Source, find_images
from gradviz.image.load import LoadedImage, load_image
from gradviz.image.prepare import Prepared, prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.model.load import wrap
from gradviz.model.model import Model
from gradviz.runs.results import Failure
from gradviz.seeds.seed import check_labels, parse_seed

Images = str | Path | Sequence[str | Path] | np.ndarray | torch.Tensor


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
    preprocess: Preprocess | None = None,
    batch_size: int | None = None,
    tile: TileOption = "auto",
) -> list[Attribution]:
    """Compute gradients of images: the results of `gradviz saliency`, without files.

    Args:
        model: from `gradviz.load_model` or `gradviz.wrap`, or any eager module.
        images: files, folders or globs; or one tensor or array [C, H, W] that enters the model
            unchanged.
        seed: one spec or several, such as `pixel:64,48`; empty for the default of the output.
        method: a name of `gradviz.backward.methods.METHODS`.
        layer: the layer at which the gradient is read; None for the input, or for Grad-CAM the last
            map.
        samples: the points of smoothgrad, vargrad and integrated-gradients; None for 32, or for
            integrated-gradients to continue until complete.
        noise: the noise of smoothgrad and vargrad, as a fraction of the input's range; None for
            0.15.
        baseline: the baseline of integrated-gradients: zero (None), mean, blur, or a file.
        random_seed: the seed of the noise; None for 0.
        preprocess: the recipe for image files; None for that of the model's card, or none.
        batch_size: the images or samples per pass; None for 8, or the batch of an exported model.
        tile: the side of tiles in pixels, for images that are computed in parts; `auto`: if it
            pays.

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
    if not isinstance(model, Model):
        model = wrap(model)
    if method not in METHODS:
        raise UsageError(f"no method is called {method!r}; use one of {', '.join(METHODS)}")
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size {batch_size}: expected at least 1")
    settings = Settings(
        method=method,
        layer=layer,
        samples=samples,
        noise=noise,
        baseline=baseline,
        random_seed=random_seed,
        batch_size=batch_size or model.batch or Settings.batch_size,
        tile=tile,
    )
    explainer = Explainer(model, settings)
    seeds = [parse_seed(spec) for spec in ([seed] if isinstance(seed, str) else seed)]
    check_labels(seeds, model.labels)
    found: Iterable[Outcome]
    if isinstance(images, np.ndarray | torch.Tensor):
        if preprocess is not None:
            raise UsageError("a tensor enters the model as it is; preprocess needs image files")
        names = {"tensor": 0}
        one = [LoadedImage("tensor", _as_it_is(images))]
        found = explainer.outcomes(one, seeds)
    else:
        sources = _sources(images)
        names = {source.name: n for n, source in enumerate(sources)}
        recipe = preprocess or model.preprocess or Preprocess()
        found = outcomes(explainer, cut(sources, settings.images_at_once), recipe, seeds)
    results = []
    for outcome in found:
        if isinstance(outcome, Failure):
            raise outcome.error
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
    images: str | Path | Sequence[str | Path] | None = None,
    pixels: Sequence[tuple[int, int]] = (),
    *,
    layer: str | None = None,
    input_size: tuple[int, int] | None = None,
    samples: int = 8,
    preprocess: Preprocess | None = None,
    random_seed: int = 0,
) -> ReceptiveFields:
    """Measure receptive fields: the results of `gradviz receptive-field`, without files.

    Args:
        model: from `gradviz.load_model` or `gradviz.wrap`, or any eager module.
        images: files, folders or globs; None for random input.
        pixels: (x, y) of output pixels; empty for the one in the middle.
        layer: the layer whose output is measured; None for the model's.
        input_size: width and height of random input; None to choose.
        samples: the number of random inputs over which the effective field is averaged.
        preprocess: the recipe for image files; None for that of the model's card, or none.
        random_seed: the seed of the random input.

    Returns:
        the fields, pixel by pixel within each image, and the geometry.

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
    if not isinstance(model, Model):
        model = wrap(model)
    recipe = preprocess or model.preprocess or Preprocess()
    settings = FieldSettings(
        pixels=tuple(pixels),
        input_size=input_size,
        layer=layer,
        samples=samples,
        random_seed=random_seed,
    )
    meter = FieldMeter(model, recipe, settings)
    (geometry,) = meter.geometries([layer])
    if images is None:
        return ReceptiveFields(list(meter.at_noise(geometry)), geometry)
    found = [
        field for source in _sources(images) for field in meter.at_image(load_image(source, recipe))
    ]
    return ReceptiveFields(found, geometry)


def _sources(images: str | Path | Sequence[str | Path]) -> Sequence[Source]:
    paths = [images] if isinstance(images, str | Path) else list(images)
    if not all(isinstance(path, str | Path) for path in paths):
        raise UsageError("images: expected paths, or one tensor or array [C, H, W]")
    return find_images([str(path) for path in paths], None).sources


def _as_it_is(image: np.ndarray | torch.Tensor) -> Prepared:
    """Prepare a tensor [C, H, W], [1, C, H, W] or [H, W] that enters the model unchanged."""
    pixels = torch.as_tensor(image).detach().to("cpu", torch.float32).numpy()
    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    elif pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3 or not pixels.size:
        raise UsageError(f"expected a tensor [C, H, W], got {list(image.shape)}")
    return prepare(Picture(pixels, "array"), Preprocess())
