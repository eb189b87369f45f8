"""Opening a model, one way for each kind of content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import safetensors.torch
from torch import nn

from gradviz.errors import OptionsMissing, UsageError
from gradviz.model.foreign import foreign_code
from gradviz.model.formats.checkpoint import Weights, find_weights, load_weights
from gradviz.model.formats.exported import load_exported
from gradviz.model.formats.factory import build_network
from gradviz.model.formats.imported import ImportedCode
from gradviz.model.formats.opened import Opened, Request, refuse_weights_options
from gradviz.model.formats.recognise import Content
from gradviz.model.formats.script import load_script, script_format
from gradviz.model.formats.trust import load_saved, refuse_exported, refuse_zip_bomb
from gradviz.model.libraries.folder import open_folder
from gradviz.model.libraries.torchvision import options_for
from gradviz.model.support import Format
from gradviz.text import listed


def open_model(path: Path, content: Content, request: Request) -> Opened:
    """Open a model file or folder.

    Args:
        path: the file or the folder.
        content: its kind; no card.
        request: the user's choices.

    Raises:
        UsageError: a choice does not suit the content.
        ModelError: the model is damaged, or does not fit its architecture.
        TrustError: opening would run code, and the request does not trust it.
    """
    return _OPENERS[content](path, request)


def _open_saved(path: Path, request: Request) -> Opened:
    checkpoint = load_saved(path, request.trust)
    return _built(path, request, find_weights(checkpoint, request.weights_key, str(path)))


def _open_safetensors(path: Path, request: Request) -> Opened:
    with foreign_code(f"{path}: cannot be loaded, perhaps it is damaged"):
        tensors = safetensors.torch.load_file(path)
    return _built(path, request, find_weights(tensors, request.weights_key, str(path)))


def _built(path: Path, request: Request, weights: Weights) -> Opened:
    value = weights.value
    if request.arch is None:
        if isinstance(value, nn.Module):
            _refuse_options(path, request, Format.PICKLED)
            return Opened(value, Format.PICKLED, weights.key)
        holds = f"{path}: holds weights only ({len(value)} tensors, the first {next(iter(value))})"
        if options := options_for(value, path.name):
            raise OptionsMissing(f"{holds}: they fit a model of torchvision", options)
        raise UsageError(
            f"{holds}: name the network with --arch package.module:factory or --arch "
            "file.py:factory"
        )
    code: list[ImportedCode] = []
    network = build_network(request.arch, request.arch_args, code.append)
    state = value.state_dict() if isinstance(value, nn.Module) else value
    part = load_weights(network, state, str(path))
    notes = tuple(note for note in (_choice(path, weights), part) if note)
    return Opened(network, Format.STATE_DICT, weights.key, code=code[0], notes=notes)


def _choice(path: Path, weights: Weights) -> str | None:
    """Describe which of several weights were taken; None if there is no other."""
    if not weights.others:
        return None
    others = listed(weights.others, 5)
    return f"{path}: took the weights under {weights.key}, not {others}: see --weights-key"


def _open_script(path: Path, request: Request) -> Opened:
    _refuse_options(path, request, Format.SCRIPT)
    module = load_script(path, request.device)
    return Opened(module, script_format(module))


def _open_exported(path: Path, request: Request) -> Opened:
    _refuse_options(path, request, Format.EXPORTED)
    if not request.trust:
        refuse_exported(path)
    refuse_zip_bomb(path)
    module, input_shape = load_exported(path, request.device)
    return Opened(module, Format.EXPORTED, input_shape=input_shape)


def _refuse_options(path: Path, request: Request, format: Format) -> None:
    pickled = format is Format.PICKLED
    refuse_weights_options(str(path), request, f"a {format.value} file", weights_key=not pickled)


_OPENERS: dict[Content, Callable[[Path, Request], Opened]] = {
    Content.SAVED: _open_saved,
    Content.SAFETENSORS: _open_safetensors,
    Content.TORCHSCRIPT: _open_script,
    Content.EXPORTED: _open_exported,
    Content.FOLDER: open_folder,
}
"""The opener of each kind; a card is followed to its model first."""
