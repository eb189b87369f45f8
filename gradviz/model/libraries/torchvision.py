"""Models of torchvision, by name, and by the weights that fit them."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from gradviz.errors import ModelError
from gradviz.model.formats.checkpoint import fits
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


def architecture_of(weights: Mapping[str, Tensor]) -> str | None:
    """Find the model of torchvision that weights fit, and write it as options.

    Args:
        weights: the tensors by name.

    Returns:
        options such as `--arch torchvision:resnet50 --arch-arg num_classes=10`; None if none fits,
        or torchvision is not there.
    """
    if len(weights) < _FEWEST or importlib.util.find_spec(TORCHVISION.package) is None:
        return None
    try:
        models = TORCHVISION.module("torchvision", "models")
    except ModelError:
        return None
    for name in _nearest(models, weights):
        for arguments in _arguments(weights):
            with suppress(Exception), warnings.catch_warnings():  # it takes other arguments
                warnings.simplefilter("ignore")
                if fits(weights, _state(models, name, arguments)):
                    given = (f"--arch-arg {key}={str(v).lower()}" for key, v in arguments.items())
                    return " ".join((f"--arch torchvision:{name}", *given))
    return None


def _nearest(models: Any, weights: Mapping[str, Tensor]) -> list[str]:
    """List the models whose number of parameters is nearest; their heads may differ."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    count = sum(t.numel() for name, t in weights.items() if not name.endswith(buffers))
    sizes: dict[str, int] = {}
    for name in models.list_models():
        # Those are the same networks in another form.
        if not name.startswith("quantized_"):
            sizes[name] = next(iter(models.get_model_weights(name))).meta["num_params"]
    return sorted(sizes, key=lambda name: abs(sizes[name] - count))[:_TRIED]


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
    """Build a model without numbers; return its state dict."""
    builder = models.get_model_builder(name)
    with torch.device("meta"):
        built: torch.nn.Module = builder(**without_download(builder) | arguments)
    return built.state_dict()
