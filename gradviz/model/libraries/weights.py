"""The weights of a folder, for libraries whose networks gradviz builds itself."""

from __future__ import annotations

import safetensors.torch
from torch import nn

from gradviz.errors import ModelError
from gradviz.model.foreign import foreign_code
from gradviz.model.formats.checkpoint import find_weights, load_weights
from gradviz.model.formats.opened import Opened
from gradviz.model.formats.trust import load_saved
from gradviz.model.libraries.contents import Folder, Labels
from gradviz.model.libraries.library import Library
from gradviz.model.support import Format


def with_weights(
    network: object, folder: Folder, library: Library, trust: bool, labels: Labels | None = None
) -> Opened:
    """Copy the weights of a folder into a network.

    Args:
        network: what the library built.
        folder: the folder.
        library: the library.
        trust: True if the weights may run code.
        labels: the names of the classes.

    Raises:
        ModelError: the network is none, or the weights do not fit it.
        TrustError: the weights would run code.
    """
    labels = labels or Labels()
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{folder.path}: expected {library.package} to build a torch.nn.Module, got a "
            f"{type(network).__name__}"
        )
    (file,) = folder.weights
    if file.suffix == ".safetensors":
        with foreign_code(f"{file}: cannot be loaded, perhaps it is damaged"):
            content: object = safetensors.torch.load_file(file)
    else:
        content = load_saved(file, trust)
    found = find_weights(content, None, str(file)).value
    state = found.state_dict() if isinstance(found, nn.Module) else found
    part = load_weights(network, state, str(folder.path))
    return Opened(
        network,
        Format.STATE_DICT,
        labels=labels.names,
        code=library.code(),
        notes=tuple(note for note in (labels.note, part) if note),
        sha256=folder.sha256,
    )
