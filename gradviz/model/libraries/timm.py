"""Models of timm: by name, and the folders that `save_for_hf` and `push_to_hf_hub` write."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial

from gradviz.errors import GradvizError, ModelError
from gradviz.model.foreign import foreign_code
from gradviz.model.formats.opened import Beside, Opened, Request, refuse_weights_options
from gradviz.model.libraries.building import no_larger_than_its_weights
from gradviz.model.libraries.contents import CONFIG, Folder, Labels, labels_from
from gradviz.model.libraries.library import TIMM, offline
from gradviz.model.libraries.named_classes import imagenet_labels
from gradviz.model.libraries.presets import recipe_of_timm
from gradviz.model.libraries.weights import with_weights


def timm_factory(name: str, where: str) -> Callable[..., object] | None:
    """Return the factory of a model of timm; None if timm has none of that name.

    Args:
        name: the name, also with a tag, as in `resnet50.a1_in1k`.
        where: the beginning of messages.
    """
    timm = TIMM.module(where)
    return partial(timm.create_model, name) if timm.is_model(name) else None


def timm_names() -> Collection[str]:
    """List the models of timm, without tags."""
    names: list[str] = TIMM.module("timm").list_models()
    return names


def open_timm(folder: Folder, request: Request) -> Opened:
    """Build the model that `architecture` names, and load the weights beside it.

    Args:
        folder: the folder.
        request: the user's choices.

    Raises:
        UsageError: an option names another network or other weights.
        ModelError: timm is missing, has no such model, or the weights do not fit.
        TrustError: the weights would run code, and the request does not trust them.
    """
    where = str(folder.path)
    refuse_weights_options(where, request, "a folder of timm")
    with offline():
        name, described = folder.config["architecture"], folder.config["pretrained_cfg"]
        factory = timm_factory(name, where) if isinstance(name, str) else None
        if factory is None:
            raise ModelError(
                f"{where}/{CONFIG}: architecture names {name!r:.80}, which this timm does not "
                "have: check the name, or upgrade with pip install --upgrade timm"
            )
        arguments = folder.config.get("model_args") or {}
        if not isinstance(described, dict) or not isinstance(arguments, dict):
            raise ModelError(
                f"{where}/{CONFIG}: expected pretrained_cfg and model_args to be mappings"
            )
        described = described | _given(folder.config, "num_classes")
        building = f"{where}: timm cannot build {name}"
        with foreign_code(building), no_larger_than_its_weights(folder):
            # Arguments of the factory itself may name other files.
            own = inspect.signature(factory).parameters
            network = factory(
                pretrained=False,
                pretrained_cfg=described,
                **{key: value for key, value in arguments.items() if key not in own},
            )
    opened = with_weights(network, folder, TIMM, request.trust, _labels(folder, described))
    return replace(opened, preprocess=described_preprocess(described, f"{where}/{CONFIG}"))


def described_preprocess(described: Mapping[str, object], where: str) -> Beside:
    """Translate the `pretrained_cfg` of a folder, if it can be followed.

    Args:
        described: the description.
        where: the file that has it.
    """
    try:
        return Beside(recipe_of_timm(described, f"{where}: pretrained_cfg"), where)
    except GradvizError as error:
        return Beside(None, where, str(error))


def _given(config: Mapping[str, object], key: str) -> dict[str, object]:
    return {key: config[key]} if key in config else {}


def _labels(folder: Folder, described: Mapping[str, object]) -> Labels:
    """Read the names of classes, in words if there are words for them."""
    names = folder.config.get("label_names", described.get("label_names"))
    words = folder.config.get("label_descriptions", described.get("label_descriptions"))
    if isinstance(names, list) and isinstance(words, dict):
        names = [words.get(name, name) if isinstance(name, str) else name for name in names]
    if names is None:
        names = imagenet_labels(described)
    return labels_from(names, f"{folder.path}/{CONFIG}: label_names")
