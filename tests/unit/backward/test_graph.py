"""The order of a graph's nodes, by which nameless layers are numbered."""

from __future__ import annotations

from typing import Any

import torch

from gradviz.backward.graph import kind_of, nodes_of, signed_axis


def test_independent_nodes_come_in_the_order_in_which_they_ran() -> None:
    x = torch.rand(3, requires_grad=True)
    branches = [x.exp(), x.sin(), x.cos(), x.tanh(), x.sqrt()]
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        total = branches[order[0]]
        for n in order[1:]:
            total = total + branches[n]
        kinds = [kind_of(node) for node in nodes_of(total)]
        assert kinds[:5] == ["Exp", "Sin", "Cos", "Tanh", "Sqrt"]
        assert kinds[5:] == ["Add"] * 4


def test_what_depends_on_another_comes_after_it() -> None:
    x = torch.rand(3, requires_grad=True)
    late, early = x.sin(), x.exp()
    y = (early.cos() + late).tanh()
    assert [kind_of(node) for node in nodes_of(y)] == ["Sin", "Exp", "Cos", "Add", "Tanh"]


def test_a_negative_axis_is_read_from_its_unsigned_number() -> None:
    x = torch.rand(2, 3, requires_grad=True)
    for axis in (-1, -2, 0, 1):
        node: Any = x.softmax(axis).grad_fn
        assert signed_axis(node._saved_dim) == axis
