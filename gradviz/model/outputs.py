"""The outputs of a model: selection of one, and the check that it can be differentiated."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from gradviz.errors import ModelError, UsageError
from gradviz.model.foreign import foreign_code

MAIN = ("logits", "predicted_depth", "out", "reconstruction")
"""The names of the output that a model is for, in libraries that name their outputs."""

_LOG = logging.getLogger(__name__)


def select_output(output: object, key: str | None, batch: int) -> Tensor:
    """Select the floating tensor [N, ...] in a model's output.

    Args:
        output: a tensor, or dicts, lists, tuples and dataclasses of them, nested at will.
        key: the dotted path to the tensor, or to a container with only one; None if `output` is the
            tensor or has only one, or one of the names in `MAIN`, which is noted.
        batch: N, the length of the first axis.

    Raises:
        UsageError: there is no such key, or several tensors fit; the message lists them.
        ModelError: there is no tensor, it is not floating, or its first axis is not the batch; a
            single image's output may lack that axis.
    """
    with foreign_code("the model's output cannot be read"):  # it may be of a class of its own
        tensor = _only(part_at(output, key), key or "")
    if odd := _oddness(tensor):
        raise ModelError(f"the output cannot be differentiated: it is {odd}")
    if not tensor.is_floating_point():
        raise ModelError(
            f"the output cannot be differentiated: it is {_dtype(tensor)}, as after an argmax, a "
            "threshold or a cast to whole numbers: choose scores with --output, or return them"
        )
    if tensor.shape[:1] == (batch,):
        return tensor
    if batch == 1:  # models that squeeze lose the batch axis of a single image
        return tensor[None]
    raise ModelError(
        f"the output's first axis must be the batch: expected [{batch}, ...], got "
        f"{list(tensor.shape)}: choose another output with --output, or give --batch-size 1"
    )


def part_at(output: object, key: str | None) -> object:
    """Return the part of a model's output at a dotted path; all of it for None.

    Raises:
        UsageError: there is no such path; the message lists the tensors that there are.
    """
    if key is None:
        return output
    try:
        return find(output, key)
    except KeyError:
        tensors = [_described(path, t) for path, t in leaves(output) if isinstance(t, Tensor)]
        listed = ", ".join(tensors) or f"no keys: it is a {type(output).__name__}"
        if isinstance(output, Tensor):
            listed = f"no keys: it is one tensor {list(output.shape)}, leave out --output"
        raise UsageError(f"the model's output has no {key!r}; it has {listed}") from None


def _only(value: object, prefix: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    tensors = [(path, t) for path, t in leaves(value, prefix) if isinstance(t, Tensor)]
    floating = [(path, t) for path, t in tensors if t.is_floating_point()]
    # A number without axes, such as a loss, can never be an output per image.
    fitting = [(path, t) for path, t in floating if t.dim() > 0] or floating
    if len(fitting) == 1:
        return fitting[0][1]
    if fitting:
        listed = ", ".join(_described(path, t) for path, t in fitting)
        main = main_output([path for path, _ in fitting], prefix)
        if main is not None:
            _note(tuple(path for path, _ in fitting), listed, main)
            return dict(fitting)[main]
        raise UsageError(f"several outputs of the model fit: {listed}: choose with --output KEY")
    if tensors:
        path, tensor = tensors[0]
        raise ModelError(
            f"the output cannot be differentiated: {path} is {_dtype(tensor)}, as after an argmax, "
            "and there is no floating tensor: make the model return its scores"
        )
    raise ModelError(
        f"the model's output holds no tensor: it is a {type(value).__name__}; expected a tensor, "
        "or dicts, lists, tuples or dataclasses of tensors"
    )


def main_output(paths: Collection[str], prefix: str = "") -> str | None:
    """Choose the output that the model is for, by its name; None if none has such a name.

    Args:
        paths: the dotted paths of outputs.
        prefix: the path of the container in which to look; empty for the model's whole output.
    """
    names = (f"{prefix}.{name}" if prefix else name for name in MAIN)
    return next((name for name in names if name in paths), None)


def _note(paths: tuple[str, ...], described: str, main: str) -> None:
    """Log once what was taken, whatever the sizes of the images."""
    if paths not in _NOTED:
        _NOTED.add(paths)
        _LOG.warning(
            f"several outputs of the model fit: {described}: took {main}, see --output KEY"
        )


_NOTED: set[tuple[str, ...]] = set()
"""The paths of outputs among which a choice was noted."""


def _described(path: str, tensor: Tensor) -> str:
    shape = "of rows of different lengths" if tensor.is_nested else list(tensor.shape)
    return f"{path} {shape}"


def _oddness(tensor: Tensor) -> str | None:
    """Return what keeps a tensor from having a gradient, and what to do; None for a plain one."""
    if tensor.is_nested:
        return "a nested tensor, of rows of different lengths: return one tensor for each"
    if tensor.layout != torch.strided:
        return f"{str(tensor.layout).removeprefix('torch.')}: return it dense, by to_dense()"
    if tensor.is_floating_point() and tensor.itemsize < 2:
        return f"{_dtype(tensor)}, which torch cannot calculate with: return it as float32"
    if not tensor.numel():
        return f"empty, of shape {list(tensor.shape)}: use a larger image, or another --output"
    return None


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def check_differentiable(output: Tensor) -> None:
    """Check that a gradient leads from `output` back to the input.

    Raises:
        ModelError: no gradient leads back to the input; the message names likely causes.
    """
    if output.is_inference():
        cause = "the model computes it under torch.inference_mode"
    elif not output.requires_grad:
        cause = "the model detaches it, computes it under torch.no_grad, or ignores its input"
    else:
        return
    raise ModelError(
        f"the output cannot be differentiated: {cause}: save the model without that, or choose "
        "another output with --output"
    )


def difference(y: Tensor, again: Tensor) -> str | None:
    """Describe the difference of two outputs for one input, if it is beyond rounding.

    Up to the root of the precision, 3e-4 of the largest value in float32, it is taken for rounding:
    far more than another order of sums causes, and far less than another function.

    Args:
        y: an output of any shape.
        again: the output of the second call.

    Returns:
        one phrase; None if they agree.
    """
    if y.shape != again.shape:
        return f"the output is {list(y.shape)}, then {list(again.shape)}"
    finite = y.isfinite()
    if not torch.equal(finite, again.isfinite()):
        return "other values are NaN or Inf"
    size, change = (
        float(values[finite].detach().double().abs().max()) if finite.any() else 0.0
        for values in (y, y.double() - again.double())
    )
    if change <= size * torch.finfo(y.dtype).eps ** 0.5:
        return None
    return f"the output changes by {change:.2g}, with values up to {size:.2g}"


# Outputs that hold outputs: dicts, lists, tuples and dataclasses ----------------------------------


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Walk through everything inside `value` that holds nothing more, each with its path.

    What is held twice, or holds itself, is entered once, under its first path.
    """
    waiting = [(path, value)]
    entered: dict[int, object] = {}  # kept, so that no other object gets the same id
    while waiting:
        path, value = waiting.pop()
        inside = children(value)
        if not inside:
            yield path, value
        elif id(value) not in entered:
            entered[id(value)] = value
            pairs = reversed(inside.items())
            waiting += [(f"{path}.{name}" if path else name, child) for name, child in pairs]


def find(value: object, path: str) -> object:
    """Find the value at a path.

    Args:
        value: the value to begin at.
        path: dotted names and indices. Names may hold dots, and named tuples take indices too.

    Raises:
        KeyError: the path leads nowhere.
    """
    waiting = [(value, path)]
    tried: dict[tuple[int, int], object] = {}
    while waiting:
        value, rest = waiting.pop()
        if (id(value), len(rest)) in tried:
            continue
        tried[id(value), len(rest)] = value
        inside = children(value)
        if isinstance(value, tuple):
            inside |= {str(index): child for index, child in enumerate(value)}
        if rest in inside:
            return inside[rest]
        waiting += [
            (child, rest[len(name) + 1 :])
            for name, child in reversed(inside.items())
            if rest.startswith(f"{name}.")
        ]
    raise KeyError(path)


def children(value: object) -> dict[str, object]:
    """List the children of `value` by name; empty for a value without children, such as a tensor.

    The names are the keys of dicts, the fields of named tuples and dataclasses, and the indices of
    lists and tuples.
    """
    if isinstance(value, (Tensor, nn.Module)):
        return {}
    if isinstance(value, Mapping):
        return {str(key): child for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        names = getattr(value, "_fields", range(len(value)))
        return {str(name): child for name, child in zip(names, value, strict=True)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {}
