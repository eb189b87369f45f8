"""The inputs of a model: the argument by which images enter, and the others, which are fixed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradviz.arrays import Size
from gradviz.errors import UsageError
from gradviz.image.other_input import OtherInput

IMAGES = "pixel_values"
"""The keyword of images, if they are not the first argument."""

InputShape = tuple[int | None, ...]
"""The sizes of an input's axes; None for one that may vary."""


@dataclass(frozen=True)
class Arguments:
    """The arguments of a module's forward."""

    names: tuple[str, ...] = ()
    """Their names, in order; empty if they are not known."""
    by_position: int = 0
    """The number of the first ones that can be given by position."""

    def __str__(self) -> str:
        return f"forward({', '.join(self.names)})"

    def named(self, key: str) -> str:
        """Find the name of an argument, which may be given by its position from 0.

        Raises:
            UsageError: there is no such argument.
        """
        name = dict(zip(map(str, range(len(self.names))), self.names, strict=True)).get(key, key)
        if name not in self.names:
            raise UsageError(f"--input {key}: the model has no such input: it has {self}")
        return name


def arguments_of(module: nn.Module) -> Arguments:
    """List the arguments of a module of any format; a wrapper's are those of the module in it."""
    if isinstance(module, torch.jit.ScriptModule):
        forward: Any = module.forward
        names = tuple(each.name for each in forward.schema.arguments[1:])
        return Arguments(names, len(names))
    if (program := getattr(module, "_in_spec", None)) is not None:
        return Arguments(tuple(program_shapes(module)), program.child(0).num_children)
    kinds: dict[str, Any] = {}
    with suppress(TypeError, ValueError):  # C functions have no signature
        parameters = inspect.signature(module.forward).parameters
        kinds = {name: each.kind for name, each in parameters.items()}
    names = tuple(name for name, kind in kinds.items() if "VAR" not in kind.name)
    inner = getattr(module, "module", None)
    if not names and isinstance(inner, nn.Module):
        return arguments_of(inner)
    return Arguments(names, sum(kinds[name].name != "KEYWORD_ONLY" for name in names))


def _takes_list(module: nn.Module) -> bool:
    """Return True if images enter a TorchScript as a list, as in the detectors of torchvision."""
    if not isinstance(module, torch.jit.ScriptModule):
        return False
    forward: Any = module.forward
    first = forward.schema.arguments[1:2]
    return bool(first) and str(first[0].type) == "List[Tensor]"


def program_shapes(program: nn.Module) -> dict[str, InputShape]:
    """List the shapes of an exported program's inputs by name; empty for what is no tensor."""
    graph: Any = program.graph
    values = {node.target: node.meta.get("val") for node in graph.nodes if node.op == "placeholder"}
    return {
        # An axis that may vary is a symbol, not an int.
        name: tuple(size if isinstance(size, int) else None for size in getattr(value, "shape", ()))
        for name, value in values.items()
    }


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of a model beside the images, and the argument by which images enter."""

    others: Mapping[str, OtherInput] = field(default_factory=dict)
    """The inputs that stay the same, by the names of their arguments."""
    images: str | None = None
    """The argument by which images enter; None for `pixel_values`, else the first."""
    shape: tuple[int, ...] | None = None
    """The shape in which one image enters; None for its own, [C, H, W]."""

    @property
    def size(self) -> Size | None:
        """The width and height of the pictures among the others; None without one."""
        sizes = (other.picture.frame.input for other in self.others.values() if other.picture)
        return None if self.shape is not None else next(sizes, None)

    def varied(self, wrt: str) -> tuple[str, OtherInput]:
        """Find another input with respect to which a gradient can be taken, and its argument.

        Args:
            wrt: the name or the position of the argument, as the user gave it.

        Raises:
            UsageError: there is no such input, or it has no gradient.
        """
        found = {each.name: each for each in self.others.values()} | dict(self.others)
        if wrt not in found:
            names = ", ".join(other.name for other in self.others.values()) or "there is none"
            raise UsageError(f"--wrt {wrt}: name an input that --input gives: {names}")
        other = found[wrt]
        if not other.values.is_floating_point():
            kind = str(other.values.dtype).removeprefix("torch.")
            raise UsageError(f"--wrt {wrt}: it holds {kind} values, which have no gradient")
        if other.values.dim() > 4:
            axes = list(other.values.shape[1:])
            raise UsageError(f"--wrt {wrt}: it is {axes}: expected at most 3 axes beside the batch")
        return next(name for name, each in self.others.items() if each is other), other

    def call(self, module: nn.Module, images: Tensor) -> Any:
        """Call a module with a batch of images and with the other inputs, repeated for each.

        Args:
            module: a module of any format, or a wrapper that takes what is in it.
            images: [N, C, H, W].

        Returns:
            whatever the module returns.
        """
        arguments = arguments_of(module)
        name = self.images or (IMAGES if IMAGES in arguments.names else None)
        if self.shape is not None:
            images = images.reshape(len(images), *self.shape)
        if name is None:
            return module(list(images) if _takes_list(module) else images)
        values = {name: images}
        for key, other in self.others.items():
            values[key] = _repeated(other.values, len(images), images.dtype)
        first = arguments.names[: arguments.by_position]
        given = [values.pop(each) for each in first[: _until(first, values)]]
        return module(*given, **values)


def _until(names: Sequence[str], given: Mapping[str, Tensor]) -> int:
    """Count the first names that are given."""
    return next((n for n, name in enumerate(names) if name not in given), len(names))


def _repeated(values: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Copy values [1, ...] to [count, ...], since a model may write into them."""
    if values.is_floating_point():
        values = values.to(dtype)
    return values.repeat(count, *[1] * (values.dim() - 1))


def assigned(module: nn.Module, others: Sequence[OtherInput], device: torch.device) -> Inputs:
    """Assign inputs to the arguments of a module; images enter by one that is left.

    Args:
        module: the module, of any format.
        others: the inputs, by name or by position.
        device: the device of the module.

    Raises:
        UsageError: it has no such argument, two inputs are for the same one, their pictures have
            different sizes, or no argument is left for the images.
    """
    arguments = arguments_of(module)
    named: dict[str, OtherInput] = {}
    for other in others:
        name = arguments.named(other.name)
        if name in named:
            raise UsageError(f"--input {other.name}: {name} is given twice: keep one")
        named[name] = replace(other, values=other.values.to(device))
    pictures = [other for other in others if other.picture is not None]
    sizes = {other.name: other.picture.frame.input for other in pictures if other.picture}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {width}x{height}" for name, (width, height) in sizes.items())
        raise UsageError(f"--input: the pictures have different sizes ({listed}): use --resize WxH")
    left = [name for name in arguments.names if name not in named]
    if named and not left:
        raise UsageError(
            f"--input {', '.join(named)}: no input of {arguments} is left for the image: leave one "
            "out"
        )
    return Inputs(named, (IMAGES if IMAGES in left else left[0]) if named else None)


def turned(inputs: Inputs, wrt: str, image: OtherInput) -> tuple[Inputs, OtherInput]:
    """Exchange the image and another input: that one varies, and the image stays the same.

    Args:
        inputs: the inputs of a model.
        wrt: the name of the other input, as the user gave it.
        image: the image.

    Returns:
        the inputs for which the other input is the image, and that input.

    Raises:
        UsageError: there is no such input, or no gradient can be taken with respect to it.
    """
    name, other = inputs.varied(wrt)
    shape = tuple(other.values.shape[1:])
    rest = {key: value for key, value in inputs.others.items() if key != name}
    if inputs.images is not None:
        rest[inputs.images] = replace(image, values=image.values.to(other.values.device))
    return Inputs(rest, name, None if other.picture else shape), other
