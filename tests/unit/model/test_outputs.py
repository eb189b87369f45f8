"""One floating tensor is chosen from whatever a model returns."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from gradviz.errors import ModelError, UsageError
from gradviz.model.load import wrap
from gradviz.model.outputs import difference, select_output
from tests.helpers.formats import compiled
from tests.helpers.nets import Net

A = torch.zeros(2, 5)
B = torch.zeros(2, 1, 4, 4)
INDEX = torch.zeros(2, 4, dtype=torch.int64)

Pair = namedtuple("Pair", ["scores", "depth"])


Answer = namedtuple("Answer", ["boxes", "logits"])


@dataclass
class Scored:
    boxes: Tensor
    logits: Tensor


@dataclass
class Both:
    scores: Tensor
    parts: list[Any]


@pytest.mark.parametrize(
    ("output", "key", "chosen"),
    [
        (A, None, A),
        ([A], None, A),
        ({"out": A, "index": INDEX}, None, A),
        ({"loss": torch.tensor(1.0), "logits": A}, None, A),
        ({"out": A, "name": "net", "none": None}, None, A),
        ({"out": A, "aux": B}, "aux", B),
        ((A, B), "1", B),
        ({"out": A, "aux": [INDEX, B]}, "aux.1", B),
        ({"out": A, "aux": [INDEX, B]}, "aux", B),
        (OrderedDict(a=Both(A, [B])), "a.parts.0", B),
        (Both(A, [B]), "scores", A),
        (Pair(A, B), "depth", B),
        (Pair(A, B), "1", B),
        ({"a.b": A, "a": {"c": B}}, "a.b", A),
        ({"a.b": A, "a": {"c": B}}, "a.c", B),
        ({"a": {"c": A}, "a.b": {"c": B}}, "a.b.c", B),
        ({0: A, 1: B}, "1", B),
        ({"boxes": B, "logits": A}, None, A),
        ({"aux": B, "out": A}, None, A),
        ({"hidden": A, "predicted_depth": B}, None, B),
        ({"x": {"logits": A}, "y": {"boxes": B, "logits": A}}, "y", A),
        (Answer(B, A), None, A),
        (Scored(B, A), None, A),
    ],
)
def test_the_output_that_the_key_leads_to(output: object, key: str | None, chosen: Tensor) -> None:
    assert select_output(output, key, 2) is chosen


@pytest.mark.parametrize(
    ("output", "key", "parts"),
    [
        ({"top": A, "aux": [INDEX, B]}, None, ["top [2, 5]", "aux.1 [2, 1, 4, 4]", "--output"]),
        (Both(A, [B]), None, ["scores [2, 5]", "parts.0 [2, 1, 4, 4]"]),
        ({"x": {"a": A, "b": B}}, "x", ["x.a [2, 5]", "x.b [2, 1, 4, 4]"]),
        ({"out": A, "aux": [B]}, "deep", ["'deep'", "out [2, 5]", "aux.0 [2, 1, 4, 4]"]),
        ([A, B], "2", ["'2'", "0 [2, 5]", "1 [2, 1, 4, 4]"]),
        (A, "out", ["'out'", "one tensor [2, 5]", "leave out --output"]),
        ("text", "out", ["'out'", "a str"]),
    ],
)
def test_the_choices_are_listed(output: object, key: str | None, parts: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        select_output(output, key, 2)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("output", "key", "parts"),
    [
        (INDEX, None, ["cannot be differentiated", "int64", "argmax"]),
        ({"index": INDEX}, None, ["cannot be differentiated", "index is int64", "argmax"]),
        ({"out": A, "index": INDEX}, "index", ["cannot be differentiated", "int64"]),
        (A > 0, None, ["cannot be differentiated", "bool"]),
        (A.to(torch.complex64), None, ["cannot be differentiated", "complex64"]),
        (torch.zeros(3, 5), None, ["[2, ...]", "[3, 5]"]),
        (torch.tensor(1.0), None, ["[2, ...]", "[]"]),
        (None, None, ["NoneType", "expected a tensor"]),
        ([], None, ["list"]),
        ({"a": {"b": "text"}}, "a.b", ["str"]),
    ],
)
def test_an_output_that_has_no_gradient(output: object, key: str | None, parts: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        select_output(output, key, 2)
    assert all(part in str(caught.value) for part in parts), caught.value


def no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


def inference(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x * 2


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (lambda x: x.flatten(1).argmax(1), "argmax"),
        (lambda x: (x * 2).detach(), "detaches"),
        (lambda x: torch.ones(len(x), 2), "ignores its input"),
        (no_grad, "no_grad"),
        (inference, "inference_mode"),
    ],
)
def test_a_model_that_cannot_be_differentiated(function: Any, part: str) -> None:
    model = wrap(Net(function))
    with pytest.raises(ModelError, match=f"cannot be differentiated: .*{part}"):
        model(torch.rand(2, 3, 4, 4, requires_grad=True))


def test_the_callers_mode_does_not_matter() -> None:
    model = wrap(Net(lambda x: x * x))
    x = torch.rand(1, 1, 2, 2, requires_grad=True)
    with torch.no_grad():
        y = model(x)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], 2 * x)
    assert not model(x.detach()).requires_grad


@pytest.mark.parametrize("script", [False, True])
def test_outputs_of_modules_in_containers(script: bool) -> None:
    def several(x: Tensor) -> Any:
        return {"double": x * 2, "square": x * x}

    module = compiled("{'double': x * 2, 'square': x * x}") if script else Net(several)
    x = torch.rand(1, 1, 2, 2, requires_grad=True)
    y = wrap(module, output="square")(x)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], 2 * x)
    with pytest.raises(UsageError, match=r"double \[1, 1, 2, 2\], square \[1, 1, 2, 2\]"):
        wrap(module)(x)


@pytest.mark.parametrize("share, told", [(1e-4, False), (3e-4, False), (4e-4, True), (1e-3, True)])
def test_a_difference_above_the_root_of_the_precision_is_none_of_rounding(
    share: float, told: bool
) -> None:
    y = torch.tensor([[2.0, -8.0, 0.5]])
    for sign in (1, -1):
        again = y + sign * torch.tensor([[0.0, 0.0, 8 * share]])
        assert (difference(y, again) is not None) == told
