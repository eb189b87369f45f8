"""The request to open a model, and the opened model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from gradviz.errors import UsageError
from gradviz.image.preprocess import Preprocess
from gradviz.model.formats.imported import ImportedCode
from gradviz.model.inputs import InputShape
from gradviz.model.support import Format


@dataclass(frozen=True)
class Request:
    """The user's choices that opening a model depends on."""

    arch: str | None
    """The factory spec."""
    arch_args: Mapping[str, object]
    """The arguments of the factory."""
    weights_key: str | None
    """The dotted key of the weights."""
    trust: bool
    """True if the model may run code while it is loaded."""
    device: torch.device
    """The device of the weights."""


@dataclass(frozen=True)
class Beside:
    """The preprocessing that lies beside the weights of a model."""

    recipe: Preprocess | None = None
    """The recipe; None if there is none, or none that can be followed."""
    origin: str = ""
    """The file that describes it."""
    problem: str | None = None
    """The reason why what is described cannot be followed."""


@dataclass(frozen=True)
class Opened:
    """The content of a model file or folder; fields as in `Model`."""

    module: nn.Module
    format: Format
    weights_key: str | None = None
    input_shape: InputShape | None = None
    labels: tuple[str, ...] = ()
    preprocess: Beside = Beside()
    code: ImportedCode = field(default_factory=ImportedCode)
    notes: tuple[str, ...] = ()
    sha256: str | None = None
    """The SHA-256 of a folder; None for a file, whose content alone counts."""


def refuse_weights_options(
    where: str, request: Request, kind: str, *, weights_key: bool = True
) -> None:
    """Check that no option asks for other weights or another network than the model's own.

    Args:
        where: the beginning of the message.
        request: the user's choices.
        kind: the kind of the model, such as "a TorchScript file".
        weights_key: True if the weights have no key either.

    Raises:
        UsageError: an option does.
    """
    given = {
        "--arch": request.arch,
        "--arch-arg": request.arch_args,
        "--weights-key": weights_key and request.weights_key,
    }
    wrong = [option for option, value in given.items() if value]
    if wrong:
        raise UsageError(
            f"{where}: {kind} has its own network and weights: leave out {' and '.join(wrong)}"
        )
