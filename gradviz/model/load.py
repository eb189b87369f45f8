"""Loading: from a model file of any format to a `Model` that can be called."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from gradviz.errors import UsageError
from gradviz.files import reading
from gradviz.image.preprocess import Preprocess
from gradviz.model.card import Card, card_beside, read_card
from gradviz.model.detector import box_form
from gradviz.model.foreign import foreign_code
from gradviz.model.formats.opened import Beside, Request
from gradviz.model.formats.openers import open_model
from gradviz.model.formats.recognise import Content, recognise
from gradviz.model.formats.script import script_format
from gradviz.model.model import Model
from gradviz.model.recipes import recipe_named
from gradviz.model.support import Capability, Format, refuse


def load_model(
    path: str | Path,
    *,
    arch: str | None = None,
    arch_args: Mapping[str, object] | None = None,
    weights_key: str | None = None,
    output: str | None = None,
    boxes: str | None = None,
    labels: Sequence[str] | None = None,
    trust: bool = False,
    device: str = "cpu",
    precision: str = "float32",
) -> Model:
    """Load a model file, the folder of a library, or the model that a card names.

    Arguments override the card. `arch_args` override the card's one by one, unless `arch` replaces
    the card's factory as well. From a card that only lies beside the model, `preprocess`, `output`,
    `boxes`, `unit` and `labels` are used.

    Args:
        path: the model file, a folder that transformers, timm or segmentation_models_pytorch
            wrote, or a card; recognised by content.
        arch: the factory of the network, `package.module:factory` or `file.py:factory`.
        arch_args: the arguments of the factory.
        weights_key: the dotted key of the weights in a checkpoint.
        output: the dotted path of the chosen output.
        boxes: the form of a detector's boxes, `xyxy`, `xywh` or `cxcywh`; None to find it.
        labels: the names of the classes, in order; None for those of the card or the folder.
        trust: True if the file may run code while it is loaded.
        device: `auto`, `cpu`, `cuda` or `cuda:N`; the default of the command line is `auto`.
        precision: `float32`, `float64`, `bfloat16`, or on CUDA `float16`.

    Returns:
        the model, evaluating, its parameters frozen: a callable from [N, C, H, W] to [N, ...].

    Raises:
        UsageError: an argument or the card is wrong, or the format cannot take the precision.
        ModelError: the file is not a model, is damaged, or does not fit its architecture.
        TrustError: loading would run code, and `trust` is False.

    Example:
        >>> import gradviz
        >>> model = gradviz.load_model("sample_models/depth.ts")
        >>> model.format.value, model.device.type
        ('TorchScript', 'cpu')
    """
    path = Path(path)
    place = device_of(device)
    dtype, capability = precision_of(precision, place)
    arch_args = dict(arch_args or {})
    content = recognise(path)
    note: str | None = None
    if content is Content.CARD:
        named = read_card(path)
        if named.model is None:
            raise UsageError(f"{path}: the card names no model: add a line model: FILE")
        path = named.model
        content = recognise(path)
        if content is Content.CARD:
            raise UsageError(f"{named.path}: its model {path} is a card too: name a weights file")
        if arch is None:
            arch, arch_args = named.arch, {**named.arch_args, **arch_args}
        weights_key = weights_key or named.weights_key
        card: Card | None = named
    else:
        found = card_beside(path)
        card, note = found.card, found.note

    request = Request(arch, arch_args, weights_key, trust, place)
    with torch.inference_mode(False):  # weights that are made in it can have no gradient behind
        opened = open_model(path, content, request)
    if capability is not None:
        refuse(opened.format, capability, str(path))
    beside = opened.preprocess
    if card is not None and card.preprocess is not None:
        beside = Beside(card.preprocess, str(card.path))
    return Model(
        module=_ready(opened.module, place, dtype, str(path)),
        format=opened.format,
        device=place,
        dtype=dtype,
        path=path,
        sha256=opened.sha256 or _digest(path),
        card=card.path if card else None,
        arch=arch,
        arch_args=arch_args,
        weights_key=opened.weights_key,
        output=output or (card.output if card else None),
        boxes=box_form(boxes) or (card.boxes if card else None),
        unit=card.unit if card else None,
        labels=tuple(labels or (card.labels if card else ()) or opened.labels),
        preprocess=beside.recipe,
        preprocess_origin=beside.origin,
        preprocess_problem=beside.problem,
        input_shape=opened.input_shape,
        code=opened.code,
        notes=(*([] if note is None else [note]), *opened.notes),
    )


def wrap(
    module: nn.Module,
    *,
    output: str | None = None,
    boxes: str | None = None,
    labels: Sequence[str] = (),
    preprocess: Preprocess | str | None = None,
    device: str = "cpu",
    precision: str = "float32",
) -> Model:
    """Make a `Model` of a module in memory.

    The module is copied: the caller's own keeps its mode, its device and its gradients, and later
    changes to it have no effect on the copy.

    Args:
        module: an eager module or TorchScript, that takes [N, C, H, W].
        output: the dotted path of the chosen output; None if there is only one.
        boxes: the form of a detector's boxes, `xyxy`, `xywh` or `cxcywh`; None to find it.
        labels: the names of the classes, in order.
        preprocess: the recipe for image files, or its name, such as `imagenet`; None for none.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `float32`, `float64`, `bfloat16`, or on CUDA `float16`.

    Returns:
        the model, evaluating, its parameters frozen.

    Raises:
        UsageError: the device or the precision cannot be had, or no recipe has that name.
        ModelError: the module cannot be copied.

    Example:
        >>> import gradviz, torch
        >>> model = gradviz.wrap(torch.nn.Conv2d(3, 8, 3), labels=["sky", "road"])
        >>> list(model(torch.zeros(1, 3, 16, 16)).shape)
        [1, 8, 14, 14]
    """
    name = type(module).__name__
    place = device_of(device)
    dtype, capability = precision_of(precision, place)
    recipe = None if preprocess is None else recipe_named(preprocess)
    with foreign_code(f"{name}: the module cannot be copied"):
        module = _copied(module)
    scripted = isinstance(module, torch.jit.ScriptModule)
    format = script_format(module) if scripted else Format.STATE_DICT
    if capability is not None:
        refuse(format, capability, name)
    return Model(
        module=_ready(module, place, dtype, name),
        format=format,
        device=place,
        dtype=dtype,
        output=output,
        boxes=box_form(boxes),
        labels=tuple(labels),
        preprocess=recipe,
    )


def _copied(module: nn.Module) -> nn.Module:
    """Copy a module.

    Tensors that were computed, such as a weight under weight norm, are not leaves. They are copied
    by value: the module computes them anew when it is called.
    """
    computed = (
        value
        for each in module.modules()
        for value in vars(each).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    )
    # TorchScript copies by operations that autograd would record; and what is copied in inference
    # mode can never have a gradient.
    with torch.inference_mode(False), torch.no_grad():
        return copy.deepcopy(module, {id(value): value.detach().clone() for value in computed})


PRECISIONS: dict[str, tuple[torch.dtype, Capability | None]] = {
    "float32": (torch.float32, None),
    "float64": (torch.float64, Capability.FLOAT64),
    "bfloat16": (torch.bfloat16, Capability.BFLOAT16),
    "float16": (torch.float16, Capability.FLOAT16),
}
"""Each precision's number type, and the capability that a format needs for it."""


def device_of(name: str) -> torch.device:
    """Find the device that `auto`, `cpu`, `cuda` or `cuda:N` names.

    `auto` is CUDA if there is one; under torchrun each process of a machine has its own.

    Raises:
        UsageError: there is no such device; the message lists the existing ones.
    """
    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":
        rank = int(os.environ.get("LOCAL_RANK", "0"))
        name = f"cuda:{rank % (len(there) - 1)}" if len(there) > 1 else "cpu"
    # The index is made explicit, so that a tensor's device can be compared with it.
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in there:
        raise UsageError(f"--device {name}: there is no such device here: use {' or '.join(there)}")
    return torch.device(wanted)


def precision_of(name: str, device: torch.device) -> tuple[torch.dtype, Capability | None]:
    """Look up the number type of a precision, and the capability that it needs.

    Raises:
        UsageError: there is no such precision, or not on `device`.
    """
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name}: expected one of {', '.join(PRECISIONS)}")
    if name == "float16" and device.type != "cuda":
        raise UsageError(f"--precision float16: needs --device cuda, got {device}: use bfloat16")
    return PRECISIONS[name]


def _digest(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ready(module: nn.Module, device: torch.device, dtype: torch.dtype, where: str) -> nn.Module:
    """`module` itself, evaluating, frozen, on `device`, its floating tensors of `dtype`."""
    with (
        foreign_code(f"{where}: cannot be made ready on {device} as {dtype}"),
        torch.inference_mode(False),
    ):
        # An exported program was fixed to one mode when it was exported.
        with suppress(NotImplementedError):
            module.eval()
        module.to(device, dtype)
        # Not module.requires_grad_(): TorchScript does not have it.
        for parameter in module.parameters():
            parameter.requires_grad_(False)
    return module
