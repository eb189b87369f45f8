"""What a module remembers from one call to the next: its buffers, such as running statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def same_buffers(module: nn.Module) -> Iterator[None]:
    """After the block, the buffers of `module` and of all in it are what they were before.

    A buffer that was written to is replaced, not written back: what the block computed may need
    the values that it saw for its backward pass.
    """
    before = [
        (owner, name, buffer, buffer._version, buffer.detach().clone())
        for owner in module.modules()
        for name, buffer in owner.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for owner, name, buffer, version, kept in before:
            if getattr(owner, name) is not buffer or buffer._version != version:
                setattr(owner, name, kept)
