"""What a pass leaves in a model's attributes and buffers, and what is put back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradviz.model.unchanged import same_attributes


class Remembers(nn.Module):
    """A module that keeps what it computes, in three ways, and hangs a hook on its part."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.ReLU()
        self.last: Any = None
        self.anchors: list[Tensor] = [torch.ones(1)]
        self.cache: dict[str, Tensor] = {"a": torch.ones(1)}

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.part(x)
        self.last = y
        self.anchors[0] = y
        self.anchors.append(y)
        self.cache["b"] = y
        del self.cache["a"]
        self.made = y
        self.part.register_forward_hook(lambda *of: None)
        self.part.inplace = True
        return y


@pytest.mark.parametrize("fails", [False, True])
def test_attributes_are_put_back(fails: bool) -> None:
    module = Remembers()
    anchors, cache = module.anchors, module.cache
    (one,), kept = module.anchors, dict(module.cache)
    with pytest.raises(KeyError) if fails else same_attributes(module), same_attributes(module):
        module(torch.empty(1, device="meta"))
        assert len(module.anchors) == 2
        if fails:
            raise KeyError
    assert module.last is None and not hasattr(module, "made") and not module.part.inplace
    assert module.anchors is anchors and len(anchors) == 1 and anchors[0] is one
    assert module.cache is cache and cache == kept
    assert not module.part._forward_hooks
