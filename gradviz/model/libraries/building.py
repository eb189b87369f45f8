"""Networks while a library builds them: of shapes alone, or within the size of their weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from gradviz.errors import ModelError
from gradviz.model.libraries.contents import Folder

MOST_PARTS = 20_000
"""The most parameters, and the most modules, of a network that a folder describes; the largest of
libraries have some thousands."""

SPARE = 1 << 24
"""The elements that a network may have beyond those of its weights: tables that no file holds."""


@contextmanager
def of_shapes_alone() -> Iterator[None]:
    """Give the parameters of networks that are built in the block a shape alone."""

    def emptied(_module: nn.Module, _name: str, given: nn.Parameter | None) -> nn.Parameter | None:
        if given is None or given.is_meta:
            return None
        return nn.Parameter(given.to("meta"), given.requires_grad)

    handle = register_module_parameter_registration_hook(emptied)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


@dataclass
class _Count:
    """The parts of a network that is being built."""

    parameters: int = 0
    modules: int = 0
    elements: int = 0


@contextmanager
def no_larger_than_its_weights(folder: Folder) -> Iterator[None]:
    """Stop the building of a network, in the block, that its folder's weights cannot fill.

    Otherwise a number in a stranger's `config.json` would decide how long that takes.

    Args:
        folder: the folder.

    Raises:
        ModelError: the network gets far more parts than the weights have.
    """
    # A library may register a parameter twice, and an element has at least a byte.
    most, count = 4 * folder.size + SPARE, _Count()

    def check(amount: int, limit: int, what: str) -> None:
        if amount > limit:
            raise ModelError(
                f"{folder.path}: describes a network of more than {limit:,} {what}, and its "
                f"weights have {folder.size:,} bytes: get the folder from whoever made it"
            )

    def registered(_module: nn.Module, _name: str, given: nn.Parameter | None) -> None:
        if given is not None:
            count.parameters += 1
            check(count.parameters, MOST_PARTS, "parameters")
            if not nn.parameter.is_lazy(given):
                count.elements += given.numel()
                check(count.elements, most, "elements")

    def entered(_module: nn.Module, _name: str, given: nn.Module | None) -> None:
        count.modules += given is not None
        check(count.modules, MOST_PARTS, "modules")

    handles = (
        register_module_parameter_registration_hook(registered),
        register_module_module_registration_hook(entered),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
