"""Weights are found in a checkpoint, renamed where it helps, and put in strictly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from gradviz.errors import ModelError, UsageError
from gradviz.model.formats.checkpoint import NESTINGS, find_weights, load_weights
from gradviz.model.load import load_model
from tests.helpers.small_nets import ARCH

STATE = {"weight": torch.ones(2), "bias": torch.zeros(2)}


@pytest.mark.parametrize(
    ("checkpoint", "asked", "key"),
    [
        (STATE, None, None),
        ({"state_dict": STATE, "epoch": 3}, None, "state_dict"),
        ({"epoch": 3, "model": {"net": STATE}}, None, "model.net"),
        ({"optimizer": {}, "model": {"epoch": 1}, "ema": STATE}, None, "ema"),
        ({"odd": STATE}, "odd", "odd"),
        ({"runs": [{}, {"best": STATE}]}, "runs.1.best", "runs.1.best"),
        ({"state_dict": {"w": torch.ones(1)}, "ema": STATE}, "ema", "ema"),
        ({"a.b": STATE}, "a.b", "a.b"),
    ],
)
def test_weights_are_found_and_their_key_reported(
    checkpoint: object, asked: str | None, key: str | None
) -> None:
    found = find_weights(checkpoint, asked, "file")
    assert found.value is STATE
    assert found.key == key


@pytest.mark.parametrize("name", NESTINGS)
def test_every_usual_nesting(name: str) -> None:
    assert find_weights({"epoch": 1, name: STATE}, None, "file").key == name


@pytest.mark.parametrize(
    ("checkpoint", "asked", "parts"),
    [
        ({"odd": STATE, "epoch": 3}, None, ["odd (2 tensors)", "epoch (int)", "--weights-key"]),
        ({"state_dict": STATE}, "ema", ["'ema'", "state_dict (2 tensors)"]),
        ({"state_dict": STATE, "epoch": 3}, "epoch", ["'epoch'", "state_dict"]),
        (torch.ones(3), None, ["a Tensor"]),
        ({}, None, ["a dict"]),
        ({f"k{i}": i for i in range(30)}, None, ["k0", "and 18 more"]),
    ],
)
def test_where_nothing_is_found_the_keys_are_listed(
    checkpoint: object, asked: str | None, parts: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        find_weights(checkpoint, asked, "net.pt")
    assert all(part in str(caught.value) for part in ["net.pt", *parts]), caught.value


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Sequential(nn.Conv2d(2, 2, 1)))


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"^", ""),
        (r"^", "module."),
        (r"^", "_orig_mod."),
        (r"^", "module._orig_mod."),
        (r"^", "_orig_mod.module."),
        (r"^", "model."),
        (r"^", "lit.model."),
        (r"^2\.", "2._orig_mod."),
    ],
)
def test_prefixes_of_wrappers_are_removed(pattern: str, replacement: str) -> None:
    source, target = network(), network()
    state = {re.sub(pattern, replacement, k): v for k, v in source.state_dict().items()}
    load_weights(target, state, "net.pt")
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


def test_a_prefix_that_the_model_has_itself_stays() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = network()

    source, target = Wrapped(), Wrapped()
    load_weights(target, source.state_dict(), "net.pt")
    assert torch.equal(target.module.get_parameter("0.weight"), source.module[0].weight)  # type: ignore[index]


def test_no_tensor_is_lost_where_two_would_get_one_name() -> None:
    target = nn.Linear(1, 1)
    state = {"_orig_mod.weight": torch.ones(1, 1), "_orig_mod.bias": torch.ones(1)}
    with pytest.raises(ModelError, match=r"2 unexpected"):
        load_weights(target, {"weight": torch.ones(1, 1), **state}, "net.pt")


def test_a_compiled_part_loads_into_the_plain_network() -> None:
    source, target = network(), network()
    source[2] = torch.compile(source[2])  # type: ignore[index, operator]
    names = list(source.state_dict())
    assert any("_orig_mod" in name for name in names)
    load_weights(target, source.state_dict(), "net.pt")
    assert torch.equal(target.get_parameter("2.0.weight"), source.state_dict()[names[-2]])


def test_counters_of_batches_may_be_missing() -> None:
    state = network().state_dict()
    del state["1.num_batches_tracked"]
    loaded = network()
    load_weights(loaded, state, "net.pt")
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in state.items())
    assert loaded.state_dict()["1.num_batches_tracked"] == 0


def test_counters_of_batch_norms_of_ones_own_may_be_missing_too() -> None:
    own = nn.Module()
    own.register_buffer("mean", torch.zeros(2))
    own.register_buffer("num_batches_tracked", torch.tensor(0))
    load_weights(own, {"mean": torch.ones(2)}, "net.pt")
    assert torch.equal(own.get_buffer("mean"), torch.ones(2))


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    state: dict[str, Any] = {**network().state_dict(), **changes}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("state", "parts"),
    [
        (changed(**{"0.weight": None}), ["1 missing (0.weight)"]),
        (changed(extra=torch.ones(1)), ["1 unexpected (extra)"]),
        (
            changed(**{"0.weight": torch.ones(5, 3, 1, 1)}),
            ["1 of another shape (0.weight: file [5, 3, 1, 1] vs model [2, 3, 1, 1])"],
        ),
        (
            changed(**{"0.bias": torch.tensor(1.0)}),
            ["1 of another shape (0.bias: file [] vs model [2])"],
        ),
        (
            changed(**{"0.bias": None, "bias0": torch.ones(2)}),
            ["1 missing (0.bias)", "1 unexpected (bias0)"],
        ),
        (
            {f"other{i}": torch.ones(1) for i in range(5)},
            ["8 missing", "and 5 more", "5 unexpected (other0, other1, other2 and 2 more)"],
        ),
        (changed(**{"1.running_mean": None}), ["1 missing (1.running_mean)"]),
    ],
)
def test_what_does_not_fit_is_listed(state: dict[str, Tensor], parts: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        load_weights(network(), state, "net.pt")
    message = str(caught.value)
    assert all(part in message for part in ["net.pt", "--arch", *parts]), message
    for kind in ("missing", "unexpected", "of another shape"):
        assert (kind in message) == any(kind in part for part in parts), message
    assert "\n" not in message


def test_weights_alone_need_an_architecture(files: Path) -> None:
    for kind in ("checkpoint.pt", "legacy.pth", "weights.safetensors"):
        with pytest.raises(UsageError, match=r"weights only \(11 tensors.*--arch"):
            load_model(files / kind)
    with pytest.raises(ModelError, match=r"head.weight: file \[3, 4\] vs model \[7, 4\]"):
        load_model(
            files / "checkpoint.pt",
            arch=ARCH,
            arch_args={"classes": 7},
        )


@pytest.mark.parametrize(
    ("kind", "options", "part"),
    [
        ("scripted.ts", {"arch": ARCH}, "--arch"),
        ("scripted.ts", {"weights_key": "ema"}, "--weights-key"),
        ("static.pt2", {"arch": ARCH, "trust": True}, "--arch"),
        ("pickled.pt", {"arch_args": {"width": 3}, "trust": True}, "--arch-arg"),
    ],
)
def test_options_for_weights_are_refused_where_there_is_a_whole_model(
    files: Path, kind: str, options: dict[str, Any], part: str
) -> None:
    with pytest.raises(UsageError, match=f"leave out {part}$"):
        load_model(files / kind, **options)


def test_the_first_of_several_weights_is_taken_and_the_others_named(tmp_path: Path) -> None:
    plain, average = ({"w": torch.full((1,), value)} for value in (1.0, 2.0))
    found = find_weights({"model_ema": average, "epoch": 3, "model": plain}, None, "net.pt")
    assert (found.value, found.key, found.others) == (plain, "model", ("model_ema",))


def lightning(net: nn.Module, **beside: Tensor) -> dict[str, Tensor]:
    """The names that a Lightning module gives: a network in it, and other things."""
    return {f"net.{name}": value for name, value in net.state_dict().items()} | beside


def test_the_network_in_a_lightning_module() -> None:
    source, target = network(), network()
    state = lightning(source, **{"loss.weight": torch.ones(3), "steps": torch.ones(())})
    note = load_weights(target, state, "epoch=1.ckpt")
    assert note is not None and "took the weights under net, and left out loss, steps" in note
    assert all(torch.equal(target.state_dict()[n], v) for n, v in source.state_dict().items())


def test_the_average_beside_the_network_of_a_lightning_module_is_named() -> None:
    source, target = network(), network()
    average = {f"ema.module.{name}": 2 * value for name, value in source.state_dict().items()}
    note = load_weights(target, average | lightning(source), "epoch=1.ckpt")
    assert note is not None and "took the weights under net" in note and "ema would fit" in note
    assert torch.equal(target.get_parameter("0.weight"), source.get_parameter("0.weight"))
    chosen = find_weights({"state_dict": average | lightning(source)}, "state_dict.ema", "x").value
    load_weights(target, cast(dict[str, Tensor], chosen), "epoch=1.ckpt")
    assert torch.equal(target.get_parameter("0.weight"), 2 * source.get_parameter("0.weight"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_converted(dtype: torch.dtype) -> None:
    source, target = network(), network()
    state = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in source.state_dict().items()
    }
    assert load_weights(target, state, "net.pt") is None
    assert target.get_parameter("0.weight").dtype is torch.float32
    assert torch.equal(target.get_parameter("0.weight"), state["0.weight"].float())
