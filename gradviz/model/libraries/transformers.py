"""Folders that `save_pretrained` of transformers wrote."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from gradviz.errors import ModelError, TrustError
from gradviz.model.foreign import foreign_code
from gradviz.model.formats.imported import ImportedCode, imported_code
from gradviz.model.formats.opened import Beside, Opened, Request, refuse_weights_options
from gradviz.model.formats.trust import load_saved
from gradviz.model.libraries.building import no_larger_than_its_weights
from gradviz.model.libraries.contents import CONFIG, Folder, labels_from
from gradviz.model.libraries.library import TRANSFORMERS, offline
from gradviz.model.libraries.processors import recipe_beside
from gradviz.model.libraries.timm import described_preprocess
from gradviz.model.support import Format
from gradviz.text import listed

_LEFT_OUT = (
    "architectures",
    "auto_map",
    "fusion_config",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
    "transformers_weights",
    "dtype",
    "torch_dtype",
)
"""The keys of config.json that choose code, other files or other numbers, not the network."""


def open_transformers(folder: Folder, request: Request) -> Opened:
    """Load the class that `architectures` names, by its own `from_pretrained`.

    Args:
        folder: the folder.
        request: the user's choices.

    Raises:
        UsageError: an option names another network or other weights.
        ModelError: transformers is missing, has no such model, or the weights do not fit.
        TrustError: the model's code lies in the folder, and the request does not trust it.
    """
    where = str(folder.path)
    refuse_weights_options(where, request, "a folder of transformers")
    _refuse_additions(folder)
    # Models of timm that transformers wraps keep names and preprocessing as timm does.
    key = "label_names" if "label_names" in folder.config else "id2label"
    labels = labels_from(folder.config.get(key), f"{where}/{CONFIG}: {key}")
    with offline():
        library = TRANSFORMERS.module(where)
        name = _class_name(folder)
        kind = _library_class(library, name, where)
        code = TRANSFORMERS.code()
        if kind is None:
            kind, own = _own_class(folder, name, request.trust)
            code = replace(own, packages={**own.packages, **code.packages})
        if not (isinstance(kind, type) and issubclass(kind, library.PreTrainedModel)) or (
            kind is library.PreTrainedModel
        ):
            raise ModelError(
                f"{where}/{CONFIG}: architectures names {name}, which is no model of transformers: "
                "name the class of the model"
            )
        module, surplus = _loaded(library, kind, folder, request.trust)
        preprocess = recipe_beside(library, folder)
        described = folder.config.get("pretrained_cfg")
        if preprocess == Beside() and isinstance(described, dict):
            preprocess = described_preprocess(described, f"{where}/{CONFIG}")
    return Opened(
        module,
        Format.STATE_DICT,
        labels=labels.names,
        preprocess=preprocess,
        code=code,
        notes=tuple(note for note in (labels.note, surplus) if note),
        sha256=folder.sha256,
    )


def _refuse_additions(folder: Folder) -> None:
    """Refuse weights that are not those of the network itself."""
    if folder.config.get("quantization_config") is not None:
        raise ModelError(
            f"{folder.path}: its weights are quantised: dequantise the model and save it again"
        )
    if (folder.path / "adapter_config.json").exists():
        raise ModelError(
            f"{folder.path}: holds an adapter (adapter_config.json): merge it into the model and "
            "save that"
        )


def _class_name(folder: Folder) -> str:
    names = folder.config["architectures"]
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    raise ModelError(
        f"{folder.path}/{CONFIG}: expected architectures to be a list with the name of a class, "
        f"got {names!r:.80}"
    )


def _library_class(library: Any, name: str, where: str) -> object | None:
    """Return what transformers calls `name`; None if it has nothing of that name."""
    with TRANSFORMERS.importing(where):
        return getattr(library, name, None) if name.isidentifier() else None


def _own_class(folder: Folder, name: str, trust: bool) -> tuple[object, ImportedCode]:
    """Import a class from the Python files in the folder."""
    where = f"{folder.path}/{CONFIG}"
    auto_map = folder.config.get("auto_map")
    places = list(auto_map.values()) if isinstance(auto_map, dict) else []
    place = next((p for p in places if isinstance(p, str) and p.endswith(f".{name}")), None)
    if place is None:
        raise ModelError(
            f"{where}: architectures names {name}, which this transformers does not have: check "
            "the name, or upgrade with pip install --upgrade transformers"
        )
    module, _, _ = place.rpartition(".")
    if not trust:
        raise TrustError(
            f"{folder.path}: not loaded: the model's class {name} is code of the folder "
            f"({place}): give --trust if you trust whoever made it"
        )
    if not module.isidentifier():
        raise ModelError(
            f"{where}: {place} is code of another place: put the file into the folder, and its "
            "name into auto_map"
        )
    with foreign_code(f"{folder.path}: {module}.py cannot be run"):
        own = _as_package(folder.path)
        imported = importlib.import_module(f"{own}.{module}")
        return getattr(imported, name, None), imported_code({*sys.modules}, own)


def _as_package(folder: Path) -> str:
    """Make the Python files of a folder the modules of a package; return its name.

    transformers would copy them into its cache.
    """
    real = str(folder.resolve())
    package = f"folder_{hashlib.sha256(real.encode()).hexdigest()[:16]}"
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]  # of an earlier load, since when the files may have changed
    module = ModuleType(package)
    module.__path__ = [real]
    sys.modules[package] = module
    importlib.invalidate_caches()
    return package


def _loaded(
    library: Any, kind: Any, folder: Folder, trust: bool
) -> tuple[torch.nn.Module, str | None]:
    where = str(folder.path)
    safe = folder.weights[0].suffix == ".safetensors"
    if not safe and not trust:
        # What would run is named before transformers reads the files.
        for file in folder.weights:
            load_saved(file, trust=False)
    settings = {key: value for key, value in folder.config.items() if key not in _LEFT_OUT}
    loading = f"{where}: transformers cannot load it"
    with foreign_code(loading), no_larger_than_its_weights(folder):
        config = kind.config_class.from_dict(settings)
        _without_pretrained_backbones(library, config)
        with _without_progress(library):
            module, report = kind.from_pretrained(
                folder.path.resolve(),
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=safe,
                weights_only=not trust,
                ignore_mismatched_sizes=True,  # reported below
                output_loading_info=True,
            )
    return module, _check_fit(report, where)


def _check_fit(report: Any, where: str) -> str | None:
    """Refuse what transformers would draw at random; return a note on what it left out."""
    kinds = {
        "missing": sorted(report["missing_keys"]),
        "of another shape": [
            f"{name}: file {list(stored)} vs model {list(wanted)}"
            for name, stored, wanted in sorted(report["mismatched_keys"])
        ],
    }
    if any(kinds.values()):
        raise ModelError(
            f"{where}: the weights do not fit the model: "
            + "; ".join(f"{len(n)} {kind} ({listed(n, 3)})" for kind, n in kinds.items() if n)
            + f": check that {CONFIG} belongs to them"
        )
    surplus = sorted(report["unexpected_keys"])
    if not surplus:
        return None
    return f"{where}: the model has no place for {len(surplus)} weights ({listed(surplus, 3)})"


def _without_pretrained_backbones(library: Any, config: Any) -> None:
    """Turn off the download of a backbone, whose weights the folder has, in all configurations."""
    for value in [config, *vars(config).values()]:
        if isinstance(value, library.PreTrainedConfig) and hasattr(
            value, "use_pretrained_backbone"
        ):
            value.use_pretrained_backbone = False


@contextmanager
def _without_progress(library: Any) -> Iterator[None]:
    """Keep transformers from drawing bars, for the block."""
    bars = library.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
