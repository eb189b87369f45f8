"""Watching operators from below autograd."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that does not make torch import its compiler, which takes a second.

    torch wraps a mode so that its compiler skips it, and imports the compiler for that. Nothing
    here is compiled.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
