"""The state of a model that a forward pass must not change: its buffers and attributes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

DICTS = (dict, OrderedDict)
"""The kinds of dict that are restored; hooks lie in one with an order."""


@contextmanager
def same_buffers(module: nn.Module) -> Iterator[None]:
    """Restore the buffers of `module` and of its parts after the block.

    A buffer that was written to is replaced, not written back: the graph of the block may need the
    values of its forward pass for its backward pass.
    """
    # What watches the pass has no business here, and there may be hundreds of buffers.
    with _disable_current_modes():
        before = [
            (owner, name, buffer, buffer.detach().clone())
            for owner in module.modules()
            for name, buffer in owner.named_buffers(recurse=False)
        ]
    try:
        yield
    finally:
        with _disable_current_modes():
            for owner, name, buffer, kept in before:
                # Compared by value: batch norm changes its statistics without a version change.
                if getattr(owner, name) is not buffer or not torch.equal(buffer, kept):
                    setattr(owner, name, kept)


@contextmanager
def same_attributes(module: nn.Module) -> Iterator[None]:
    """Restore the attributes of `module` and of its parts after the block.

    A pass without numbers must not leave tensors without numbers behind, as in the list of anchors
    that a detector renews in every pass. What TorchScript keeps for itself is not seen.
    """
    before = [
        (attributes, {name: (value, _content(value)) for name, value in attributes.items()})
        for attributes in (vars(part) for part in module.modules())
    ]
    try:
        yield
    finally:
        for attributes, kept in before:
            for name in attributes.keys() - kept.keys():
                del attributes[name]
            for name, (value, content) in kept.items():
                attributes[name] = value
                if type(value) is list:
                    value[:] = content
                elif type(value) in DICTS:
                    value.clear()
                    value.update(content)


def _content(value: Any) -> Any:
    """Copy a list or a dict, without what lies in it."""
    return value.copy() if type(value) in (list, *DICTS) else None
