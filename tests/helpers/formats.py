"""Networks saved in every format."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gradviz.model.load import load_model, wrap
from gradviz.model.model import Model

Place = TypeVar("Place", str, Path)


@cache  # the same expression gives the same bytes
def compiled(expression: str) -> torch.jit.ScriptModule:
    """TorchScript of an expression of `x`, such as `x * x / 2`."""

    class Expression(torch.jit.ScriptModule):  # a class of its own: each has one forward
        pass

    made = Expression()
    made.define(f"def forward(self, x):\n    return {expression}\n")
    return made.eval()


def traced(net: nn.Module, x: Tensor) -> torch.jit.ScriptModule:
    """The recording of one call of a network."""
    with warnings.catch_warnings():  # the tracer warns of the size checks of norms
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        made: torch.jit.ScriptModule = torch.jit.trace(net, x, check_trace=False)  # type: ignore[no-untyped-call]
    return made


def script(net: nn.Module | str, path: Place) -> Place:
    """Save a network, or an expression of `x`, as TorchScript; return the path."""
    torch.jit.save(compiled(net) if isinstance(net, str) else torch.jit.script(net), path)
    return path


def freeze(net: nn.Module, path: Place) -> Place:
    """Save a network as frozen TorchScript; return the path."""
    torch.jit.save(torch.jit.freeze(torch.jit.script(net).eval()), path)
    return path


def export(net: nn.Module, x: Tensor, path: Place, *free: int) -> Place:
    """Save a network as an exported program for inputs like x; return the path.

    Args:
        free: the axes along which inputs may have other sizes than x has.
    """
    shapes = (dict.fromkeys(free, torch.export.Dim.AUTO),) if free else None
    torch.export.save(torch.export.export(net, (x,), dynamic_shapes=shapes), path)
    return path


WRITERS: Mapping[str, Callable[[nn.Module, Tensor, Path], object]] = {
    "checkpoint.pt": lambda net, x, path: torch.save(net.state_dict(), path),
    "legacy.pth": lambda net, x, path: torch.save(
        net.state_dict(), path, _use_new_zipfile_serialization=False
    ),
    "weights.safetensors": lambda net, x, path: save_file(net.state_dict(), path),
    "pickled.pt": lambda net, x, path: torch.save(net, path),
    "scripted.ts": lambda net, x, path: script(net, path),
    "traced.ts": lambda net, x, path: torch.jit.save(traced(net, x), path),
    "frozen.ts": lambda net, x, path: freeze(net, path),
    "frozen_trace.ts": lambda net, x, path: torch.jit.save(
        torch.jit.freeze(traced(net, x).eval()), path
    ),
    "program.pt2": lambda net, x, path: export(net, x, path),
}
"""How a network is saved under each of these names; x is an input of it."""

NEED_TRUST = ("pickled.pt", "program.pt2")
"""The names of WRITERS that are loaded with --trust only."""

FORMATS = ("checkpoint.pt", "pickled.pt", "scripted.ts", "traced.ts", "frozen.ts", "program.pt2")
"""A name of WRITERS for each format."""


def save(net: nn.Module, x: Tensor, folder: Path, *names: str) -> Path:
    """Save a network in a folder under some of the names of WRITERS; return the folder."""
    for name in names:
        WRITERS[name](net, x, folder / name)
    return folder


def models(net: nn.Module, x: Tensor, folder: Path, *names: str) -> dict[str, Model]:
    """Load a network itself, as "eager", and from its files under some of the names of WRITERS."""
    save(net, x, folder, *names)
    loaded = {name: load_model(folder / name, trust=True) for name in names}
    return {"eager": wrap(net), **loaded}


def load(path: Path, factory: str, precision: str = "float32") -> Model:
    """Load a file named as in WRITERS, which a factory of `tests.helpers.nets` made."""
    arch = f"tests.helpers.nets:{factory}" if path.name == "checkpoint.pt" else None
    return load_model(path, arch=arch, trust=path.name in NEED_TRUST, precision=precision)
