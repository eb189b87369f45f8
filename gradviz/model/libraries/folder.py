"""Folders that a library wrote: which library, by the configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from gradviz.errors import ModelError
from gradviz.model.formats.opened import Opened, Request
from gradviz.model.libraries.contents import CONFIG, Folder, read_folder
from gradviz.model.libraries.smp import open_smp
from gradviz.model.libraries.timm import open_timm
from gradviz.model.libraries.transformers import open_transformers

FOLDERS: dict[str, tuple[Collection[str], Callable[[Folder, Request], Opened]]] = {
    "transformers": (("architectures",), open_transformers),
    "timm": (("architecture", "pretrained_cfg"), open_timm),
    "segmentation_models_pytorch": (("_model_class",), open_smp),
}
"""The keys of config.json by which the folder of a library is known, and its opener; the first
whose keys are all there counts."""


def open_folder(path: Path, request: Request) -> Opened:
    """Open the model in a folder.

    Args:
        path: the folder.
        request: the user's choices.

    Raises:
        UsageError: an option does not suit the folder.
        ModelError: the folder is damaged or of no known library, or its library is missing.
        TrustError: opening would run code of the folder, and the request does not trust it.
    """
    folder = read_folder(path)
    for keys, opener in FOLDERS.values():
        if all(key in folder.config for key in keys):
            return opener(folder, request)
    known = "; ".join(f"{' and '.join(keys)} ({name})" for name, (keys, _) in FOLDERS.items())
    raise ModelError(f"{path}/{CONFIG}: is of no library that gradviz can read: expected {known}")
