"""Exported programs: the `.pt2` files of torch.export."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from gradviz.errors import ModelError
from gradviz.model.foreign import foreign_code
from gradviz.model.inputs import InputShape, program_shapes


def load_exported(path: Path, device: torch.device) -> tuple[nn.Module, InputShape | None]:
    """Load a program from a `.pt2` file, which must be trusted.

    Args:
        path: the file.
        device: the device of its weights.

    Returns:
        the program, and the shape of its first input; None if that is not [N, C, H, W].

    Raises:
        ModelError: the file is damaged, or the program's only input is not [N, C, H, W].
    """
    with (
        foreign_code(f"{path}: cannot be loaded as an exported program, perhaps it is damaged"),
        _raised_not_logged(),
    ):
        with warnings.catch_warnings():
            # Torch 2.10 warns of buffers of its own making.
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            exported = torch.export.load(path)
        program = move_to_device_pass(exported, device)
        module = program.module()
        shapes = program_shapes(module)
    first, *others = [*shapes.values()] or [()]
    if len(first) != 4 and not others:
        got = f"{list(first)}" if first else "no tensor"
        raise ModelError(
            f"{path}: expected a program with an input [N, C, H, W], got {got}: export the model "
            "for a batch of images"
        )
    return module, first if len(first) == 4 else None


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
