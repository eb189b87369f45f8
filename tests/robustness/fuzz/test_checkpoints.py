"""Checkpoints of any structure: the weights are found and put in place, or one line says why not.

An example takes about a millisecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from gradviz.errors import ModelError, UsageError
from gradviz.model.formats.checkpoint import NESTINGS, Weights, find_weights, load_weights
from tests.robustness.fuzz.rounds import QUICK
from tests.robustness.fuzz.texts import anything

DTYPES = (torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64)
SHAPES = ((2, 1, 1, 1), (2,), (), (0,), (1, 2), (2, 1, 3, 3))
NAMES = ("weight", "bias", "n_averaged", "num_batches_tracked", "0", "", ".", "epoch")

tensors = st.builds(
    lambda shape, dtype: torch.ones(shape, dtype=dtype),
    st.sampled_from(SHAPES),
    st.sampled_from(DTYPES),
)
prefixes = st.lists(st.sampled_from(["module", "_orig_mod", "ema", "a.b", ""]), max_size=2)
names = st.one_of(
    st.builds(lambda parts, name: ".".join([*parts, name]), prefixes, st.sampled_from(NAMES)),
    anything,
)
states = st.dictionaries(names, tensors, max_size=4)
right = st.builds(
    lambda parts: {
        ".".join([*parts, name]): torch.full_like(tensor, 7)
        for name, tensor in network().state_dict().items()
    },
    prefixes,
)
"""The weights of the network, under names with prefixes."""
leaves = st.one_of(states, right, tensors, st.integers(), st.none(), anything)
checkpoints = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(
            st.one_of(st.sampled_from(NESTINGS), names, st.integers()), inner, max_size=3
        ),
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=5,
)
TWO_OF_ONE_NAME = {
    "net.weight": torch.ones(2, 1, 1, 1),
    "net._orig_mod.weight": torch.zeros(2, 1, 1, 1),
    "net.bias": torch.ones(2),
}
keys = st.one_of(st.none(), st.sampled_from(NESTINGS), names)


def network() -> nn.Module:
    return nn.Conv2d(1, 2, 1)


@QUICK
@given(checkpoint=checkpoints, key=keys)
@example(checkpoint=TWO_OF_ONE_NAME, key=None)
def test_any_structure(checkpoint: object, key: str | None) -> None:
    module = network()
    try:
        found = find_weights(checkpoint, key, "file")
        assert isinstance(found, Weights) and isinstance(found.value, Mapping)
        load_weights(module, found.value, "file")
    except (UsageError, ModelError) as error:
        assert str(error).startswith("file: ")
    else:
        # Nothing was left out: every tensor of the file is in the module, as a float.
        wanted = [t for name, t in found.value.items() if name != "n_averaged"]
        there = [*module.state_dict().values()]
        assert all(any(same(t, own) for own in there) for t in wanted)


def same(tensor: Tensor, own: Tensor) -> bool:
    return tensor.shape == own.shape and bool((tensor.to(own.dtype) == own).all())


@QUICK
@given(weights=right, nesting=st.lists(st.sampled_from(NESTINGS), max_size=3), data=st.data())
def test_weights_are_found_under_every_usual_key(
    weights: dict[str, Tensor], nesting: list[str], data: st.DataObject
) -> None:
    checkpoint: Any = weights
    for name in nesting:
        beside = data.draw(st.dictionaries(anything, st.integers(), max_size=2))
        checkpoint = {**beside, "epoch": 1, name: checkpoint}
    module = network()
    found = find_weights(checkpoint, None, "file")
    assert found.key == (".".join(reversed(nesting)) or None)
    assert isinstance(found.value, Mapping)
    load_weights(module, found.value, "file")
    assert all((tensor == 7).all() for tensor in module.state_dict().values())
