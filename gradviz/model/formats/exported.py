"""Exported programs: the `.pt2` files of torch.export."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from gradviz.errors import ModelError
from gradviz.model.foreign import foreign_code

InputShape = tuple[int | None, ...]
"""The sizes of the input's axes; None for one that may vary."""


def load_exported(path: Path, device: torch.device) -> tuple[nn.Module, InputShape]:
    """Load a program from a `.pt2` file, which must be trusted.

    Args:
        path: the file.
        device: the device of its weights.

    Returns:
        the program, and the shape of its input.

    Raises:
        ModelError: the file is damaged, or the program's input is not one [N, C, H, W].
    """
    with (
        foreign_code(f"{path}: cannot be loaded as an exported program, perhaps it is damaged"),
        _raised_not_logged(),
    ):
        program = move_to_device_pass(torch.export.load(path), device)
        inputs = program.graph_signature.user_inputs
        values = [
            node.meta["val"]
            for node in program.graph.nodes
            if node.op == "placeholder" and node.name in inputs
        ]
        module = program.module()
    shapes = [list(value.shape) for value in values if isinstance(value, torch.Tensor)]
    if len(inputs) != 1 or [len(shape) for shape in shapes] != [4]:
        got = ", ".join(f"{shape}" for shape in shapes) or "no tensor"
        raise ModelError(
            f"{path}: expected a program with one input [N, C, H, W], got {len(inputs)} inputs "
            f"({got}): export the model for a batch of images alone"
        )
    # An axis that may vary is a symbol, not an int.
    return module, tuple(size if isinstance(size, int) else None for size in shapes[0])


@contextmanager
def _raised_not_logged() -> Iterator[None]:
    """Raise the first error of torch.export.load, instead of logging it.

    torch.export.load logs an error with its traceback, and tries an older layout. If that fails
    too, the first error is the one that helps.
    """
    met: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        error = record.exc_info and record.exc_info[1]
        met.extend([error] if error else [])
        return not error

    log = logging.getLogger("torch.export")
    log.addFilter(keep)
    try:
        yield
    except Exception as error:
        raise (met or [error])[0] from None
    finally:
        log.removeFilter(keep)
