"""Models of segmentation_models_pytorch: by name, and the folders of `save_pretrained`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

from gradviz.errors import GradvizError, ModelError
from gradviz.image.preprocess import preprocess_from
from gradviz.model.foreign import foreign_code
from gradviz.model.formats.opened import Beside, Opened, Request, refuse_weights_options
from gradviz.model.libraries.building import no_larger_than_its_weights
from gradviz.model.libraries.contents import CONFIG, Folder
from gradviz.model.libraries.library import SMP, offline
from gradviz.model.libraries.weights import with_weights


def smp_factory(name: str, where: str) -> Callable[..., object] | None:
    """Return the class of a model of segmentation_models_pytorch; None if it has none of that name.

    Args:
        name: the name, such as `Unet` or `unet`.
        where: the beginning of messages.
    """
    smp = SMP.module(where)
    factory: Callable[..., object] | None = smp.MODEL_ARCHITECTURES_MAPPING.get(name.lower())
    return factory


def smp_names() -> Collection[str]:
    """List the models of segmentation_models_pytorch."""
    names: dict[str, object] = SMP.module("smp").MODEL_ARCHITECTURES_MAPPING
    return names


def open_smp(folder: Folder, request: Request) -> Opened:
    """Build the model that `_model_class` names, and load the weights beside it.

    Args:
        folder: the folder.
        request: the user's choices.

    Raises:
        UsageError: an option names another network or other weights.
        ModelError: the library is missing, has no such model, or the weights do not fit.
        TrustError: the weights would run code, and the request does not trust them.
    """
    where = str(folder.path)
    refuse_weights_options(where, request, "a folder of segmentation_models_pytorch")
    with offline():
        name = folder.config["_model_class"]
        factory = smp_factory(name, where) if isinstance(name, str) else None
        if factory is None:
            raise ModelError(
                f"{where}/{CONFIG}: _model_class names {name!r:.80}, which this "
                "segmentation_models_pytorch does not have: check the name, or upgrade it"
            )
        settings = {key: value for key, value in folder.config.items() if key[:1] != "_"}
        building = f"{where}: segmentation_models_pytorch cannot build {name}"
        with foreign_code(building), no_larger_than_its_weights(folder):
            network = partial(factory, **settings)(encoder_weights=None)
        preprocess = _preprocess(folder)
    return replace(with_weights(network, folder, SMP, request.trust), preprocess=preprocess)


def _preprocess(folder: Folder) -> Beside:
    """Take the preprocessing of the weights from which the encoder's training began, if it is here.

    The library keeps that of most encoders beside their weights on the Hub, and so in its cache.
    """
    where = f"{folder.path}/{CONFIG}"
    name, weights = (folder.config.get(key) for key in ("encoder_name", "encoder_weights"))
    if not weights:
        return Beside()
    encoders = SMP.module(where, "encoders")
    try:
        with foreign_code(f"{where}: encoder_weights"):
            found = encoders.get_preprocessing_params(name, weights)
            keys = {key: found[key] for key in ("mean", "std")}
            keys["range"] = [0, 255 if found["input_range"][1] == 255 else 1]
            keys["channels"] = str(found["input_space"]).lower()
        return Beside(preprocess_from(keys, where), where)
    except GradvizError:
        return Beside()
