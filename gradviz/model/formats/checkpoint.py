"""Finding the weights in a checkpoint, and copying them into a network."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TypeGuard

from torch import Tensor, nn

from gradviz.errors import ModelError, UsageError
from gradviz.model.foreign import foreign_code
from gradviz.model.outputs import children, find
from gradviz.text import listed

NESTINGS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "params_ema",
    "ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "state_dict_ema",
    "shadow",
    "student",
    "teacher",
    "generator",
    "encoder",
    "backbone",
)
"""The keys under which training code stores weights; the first one with weights is taken."""

_SHOWN = 3
"""The most keys of a kind that an error message names."""


@dataclass(frozen=True)
class Weights:
    """The weights that were found in a checkpoint."""

    value: Mapping[str, Tensor] | nn.Module
    """A state dict, or a whole pickled module."""
    key: str | None
    """The dotted key of the weights; None if they are the whole checkpoint."""
    others: tuple[str, ...] = ()
    """The keys of other weights in the checkpoint, such as moving averages."""


def find_weights(checkpoint: object, weights_key: str | None, where: str) -> Weights:
    """Find a state dict or a module in the content of a file.

    Args:
        checkpoint: the content of the file.
        weights_key: the dotted key of the weights; None for `checkpoint` itself, then `NESTINGS`.
        where: the beginning of error messages.

    Raises:
        UsageError: no weights have that key, or one of the usual keys; the message lists the keys
            of the file.
    """
    if weights_key is not None:
        try:
            value = find(checkpoint, weights_key)
        except KeyError:
            value = _below(checkpoint, weights_key)
        found = _as_weights(value, weights_key)
        sought = f"no weights under {weights_key!r}"
    else:
        found = _search(checkpoint)
        sought = "no weights"
    if found is None:
        there = [f"{key} ({_described(value)})" for key, value in children(checkpoint).items()]
        holds = listed(there, 12) if there else f"a {type(checkpoint).__name__}"
        raise UsageError(f"{where}: {sought}; the file holds {holds}: choose with --weights-key")
    return found


def _below(checkpoint: object, key: str) -> Mapping[str, Tensor] | None:
    """Select the weights whose names begin with the last parts of `key`, inside a state dict.

    Training code often keeps several networks in one state dict, as `model.…` and `ema.…`.
    """
    parts = key.split(".")
    for depth in range(len(parts)):
        try:
            value = find(checkpoint, ".".join(parts[:depth])) if depth else checkpoint
        except KeyError:
            return None
        prefix = ".".join(parts[depth:]) + "."
        if _is_state_dict(value):
            return {
                name.removeprefix(prefix): tensor
                for name, tensor in value.items()
                if name.startswith(prefix)
            }
    return None


def _search(checkpoint: object) -> Weights | None:
    """Find the first weights under the usual keys. What is held twice is looked into once."""
    waiting: list[tuple[object, str | None]] = [(checkpoint, None)]
    seen = set()
    all_found: list[Weights] = []
    while waiting:
        value, key = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        found = _as_weights(value, key)
        if found is not None:
            all_found.append(found)
        elif isinstance(value, Mapping):
            names = [name for name in NESTINGS if name in value]
            waiting += [(value[n], f"{key}.{n}" if key else n) for n in reversed(names)]
    if not all_found:
        return None
    first, *rest = all_found
    return replace(first, others=tuple(str(each.key) for each in rest))


def _as_weights(value: object, key: str | None) -> Weights | None:
    return Weights(value, key) if isinstance(value, nn.Module) or _is_state_dict(value) else None


def _is_state_dict(value: object) -> TypeGuard[Mapping[str, Tensor]]:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _described(value: object) -> str:
    return f"{len(value)} tensors" if _is_state_dict(value) else type(value).__name__


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> str | None:
    """Copy `weights` into `module`, which must need all of them and no others.

    Prefixes that wrappers leave (`module.`, `_orig_mod.`, or one common to all names) are removed
    if that makes more names fit. If the module is one part of what was trained, as of a Lightning
    module that has a loss as well, the part that fits is taken. `num_batches_tracked` may be
    missing: only training reads it.

    Args:
        module: the network.
        weights: the tensors by name.
        where: the beginning of messages.

    Returns:
        a note on the part that was taken; None if all weights were.

    Raises:
        ModelError: names are missing, unexpected, or of another shape; the message lists them.
    """
    with foreign_code(f"{where}: the model's own weights cannot be listed"):
        model = module.state_dict()
    # AveragedModel stores a counter beside the weights.
    weights = {name: tensor for name, tensor in weights.items() if name != "n_averaged"}
    note = None
    if not fits(weights, model) and (parts := _fitting_parts(weights, model)):
        part, *others = parts
        left = sorted({name.partition(".")[0] for name in weights} - {part})
        note = f"{where}: took the weights under {part}, and left out {listed(left, _SHOWN)}" + (
            f": {listed(others, _SHOWN)} would fit as well, see --weights-key" if others else ""
        )
        weights = parts[part]
    weights = _renamed(weights, model.keys())
    misfits = {
        name: f"{name}: file {list(tensor.shape)} vs model {list(model[name].shape)}"
        for name, tensor in weights.items()
        if name in model and tensor.shape != model[name].shape
    }
    fitting = {name: tensor for name, tensor in weights.items() if name not in misfits}
    # torch compares the rest, so that a module's own hooks for old checkpoints run.
    with foreign_code(f"{where}: the weights cannot be copied into the model"):
        result = module.load_state_dict(fitting, strict=False)
    missing = [
        name
        for name in result.missing_keys
        if name not in misfits and not name.endswith("num_batches_tracked")
    ]
    kinds = (
        ("missing", missing),
        ("unexpected", result.unexpected_keys),
        ("of another shape", list(misfits.values())),
    )
    if any(names for _, names in kinds):
        counts = "; ".join(f"{len(n)} {kind} ({listed(n, _SHOWN)})" for kind, n in kinds if n)
        raise ModelError(
            f"{where}: the weights do not fit the model: {counts}: check --arch and --arch-arg, or "
            "name a part of the weights with --weights-key"
        )
    return note


def _fitting_parts(
    weights: Mapping[str, Tensor], model: Mapping[str, Tensor]
) -> dict[str, Mapping[str, Tensor]]:
    """Select the parts of the weights, by the first part of their names, that fit a network."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        first, _, rest = name.partition(".")
        if first != "_orig_mod":  # the same network again, not a part
            parts.setdefault(first, {})[rest] = tensor
    usual = sorted(parts, key=lambda p: NESTINGS.index(p) if p in NESTINGS else len(NESTINGS))
    return {part: parts[part] for part in usual if fits(parts[part], model)} if model else {}


def fits(weights: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> bool:
    """Return True if the weights have the names and shapes of the model's own.

    Args:
        weights: the tensors by name, with prefixes that wrappers left.
        model: the state dict of the network; its tensors may be without numbers.
    """
    named = _renamed(weights, model.keys())
    counted = {name for name in {*named, *model} if not name.endswith("num_batches_tracked")}
    return all(
        name in named and name in model and named[name].shape == model[name].shape
        for name in counted
    )


def _renamed(weights: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Rename the weights so that most names are in `wanted`; keep them if nothing is better."""
    # A renaming that maps two names to one would lose a tensor.
    namings = (named for named in _namings(weights) if len(named) == len(weights))
    return max(namings, key=lambda named: sum(name in wanted for name in named))


def _namings(weights: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    yield dict(weights)
    paths = [[part for part in name.split(".") if part != "_orig_mod"] for name in weights]
    yield _joined(paths, weights, 0)
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    for depth, _ in enumerate(shared, 1):
        yield _joined(paths, weights, depth)


def _joined(paths: list[list[str]], weights: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    names = (".".join(path[depth:]) for path in paths)
    return dict(zip(names, weights.values(), strict=True))
