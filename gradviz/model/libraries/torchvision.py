"""Models of torchvision, by name, and by the weights that fit them."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from torch import Tensor, nn

from gradviz.errors import ModelError
from gradviz.model.formats.checkpoint import fits
from gradviz.model.libraries.building import of_shapes_alone
from gradviz.model.libraries.library import TORCHVISION
from gradviz.model.libraries.pretrained import without_download

_TRIED = 8
"""The most architectures that are built to compare them with weights."""

_FEWEST = 16
"""The tensors of AlexNet, of which no architecture has fewer."""


def torchvision_factory(name: str, where: str) -> Callable[..., object] | None:
    """Return the factory of a model of torchvision; None if it has none of that name.

    Args:
        name: the name, such as `resnet50` or `deeplabv3_resnet50`.
        where: the beginning of messages.
    """
    models = TORCHVISION.module(where, "models")
    if name not in models.list_models():
        return None
    factory: Callable[..., object] = models.get_model_builder(name)
    return factory


def torchvision_names() -> Collection[str]:
    """List the models of torchvision."""
    names: list[str] = TORCHVISION.module("torchvision", "models").list_models()
    return names


def options_for(weights: Mapping[str, Tensor], file: str) -> list[str]:
    """Find the model of torchvision that weights fit, and write it as options.

    Args:
        weights: the tensors by name.
        file: the name of their file, by which torchvision's own are known.

    Returns:
        words such as `--arch torchvision:resnet50 --arch-arg num_classes=10`, with `--preprocess`
        for torchvision's own weights; none if no model fits, or torchvision is not there.
    """
    if len(weights) < _FEWEST or importlib.util.find_spec(TORCHVISION.package) is None:
        return []
    try:
        models = TORCHVISION.module("torchvision", "models")
    except ModelError:
        return []
    for name in _nearest(models, weights):
        for arguments in _arguments(weights):
            with suppress(Exception), warnings.catch_warnings():  # it takes other arguments
                warnings.simplefilter("ignore")
                if fits(weights, _state(models, name, arguments)):
                    words = ["--arch", f"torchvision:{name}"]
                    for key, value in arguments.items():
                        words += ["--arch-arg", f"{key}={str(value).lower()}"]
                    return words + _of_own_weights(models, name, file)
    return []


_NORMALISES_AGAIN = ("googlenet", "inception_v3")
"""The models whose weights of torchvision take an input that the model normalises once more."""


def _of_own_weights(models: Any, name: str, file: str) -> list[str]:
    """Name what belongs to the weights that torchvision offers under the file's name."""
    for weights in models.get_model_weights(name):
        if weights.url.rpartition("/")[2] == file:
            again = ["--arch-arg", "transform_input=true"] if name in _NORMALISES_AGAIN else []
            return [*again, "--preprocess", f"torchvision:{weights}"]
    return []


def _nearest(models: Any, weights: Mapping[str, Tensor]) -> list[str]:
    """List the models whose number of parameters is nearest; their heads may differ."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    numbers = {name: t.numel() for name, t in weights.items() if not name.endswith(buffers)}
    # torchvision counts the second head of some models, and not that of others.
    counts = sum(numbers.values()), sum(n for name, n in numbers.items() if "aux" not in name)
    sizes: dict[str, int] = {}
    for name in models.list_models():
        # Those are the same networks in another form.
        if not name.startswith("quantized_"):
            sizes[name] = next(iter(models.get_model_weights(name))).meta["num_params"]
    distances = {name: min(abs(size - count) for count in counts) for name, size in sizes.items()}
    return sorted(distances, key=distances.__getitem__)[:_TRIED]


def _arguments(weights: Mapping[str, Tensor]) -> Iterator[dict[str, object]]:
    """List arguments of a model that may explain the shapes of its weights, the simplest first."""
    aux: dict[str, object] = (
        {"aux_loss": True} if any(".aux_classifier." in f".{name}" for name in weights) else {}
    )
    yield aux
    last = [*weights.values()][-1]
    if last.dim():
        yield aux | {"num_classes": len(last)}


def _state(models: Any, name: str, arguments: dict[str, object]) -> Mapping[str, Tensor]:
    """Build a model, if possible without numbers; return its state dict."""
    builder: Callable[..., nn.Module] = models.get_model_builder(name)
    build = partial(builder, **without_download(builder) | arguments)
    try:
        with of_shapes_alone():
            return build().state_dict()
    except RuntimeError:  # it calls a part of itself while it is built
        return build().state_dict()
