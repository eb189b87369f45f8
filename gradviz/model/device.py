"""Where a model runs, and in which floating-point numbers."""

from __future__ import annotations

import os

import torch

from gradviz.errors import UsageError
from gradviz.support import Capability

PRECISIONS: dict[str, tuple[torch.dtype, Capability | None]] = {
    "float32": (torch.float32, None),
    "float64": (torch.float64, Capability.FLOAT64),
    "bfloat16": (torch.bfloat16, Capability.BFLOAT16),
    "float16": (torch.float16, Capability.FLOAT16),
}
"""Each precision's number type, and the capability that a format needs for it."""


def device_of(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` names.

    `auto` is CUDA where it is there; under torchrun each process of a machine has its own.

    Raises:
        UsageError: there is no such device; the message lists those that there are.
    """
    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":
        rank = int(os.environ.get("LOCAL_RANK", "0"))
        name = f"cuda:{rank % (len(there) - 1)}" if len(there) > 1 else "cpu"
    # The index is made explicit, so that a tensor's device can be compared with it.
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in there:
        raise UsageError(f"--device {name}: there is no such device here: use {' or '.join(there)}")
    return torch.device(wanted)


def precision_of(name: str, device: torch.device) -> tuple[torch.dtype, Capability | None]:
    """The number type of a precision, and the capability that it takes, as in `PRECISIONS`.

    Raises:
        UsageError: there is no such precision, or not on `device`.
    """
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name}: expected one of {', '.join(PRECISIONS)}")
    if name == "float16" and device.type != "cuda":
        raise UsageError(f"--precision float16: needs --device cuda, got {device}: use bfloat16")
    return PRECISIONS[name]
