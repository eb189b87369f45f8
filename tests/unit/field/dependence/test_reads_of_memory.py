"""What a model reads from the image past autograd makes its field partial."""

from __future__ import annotations

import copy
import ctypes
import io
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import dlpack

import gradviz
from gradviz.field.reach.extents import Untold
from gradviz.field.reach.follow import follow

DLPACK: Any = dlpack

READS: dict[str, Callable[[Tensor], Tensor]] = {
    "a capsule": lambda x: DLPACK.from_dlpack(DLPACK.to_dlpack(x)),
    "dlpack": lambda x: DLPACK.from_dlpack(x),
    "dlpack by NumPy": lambda x: torch.from_numpy(np.from_dlpack(x) * 1),
    "numpy": lambda x: torch.from_numpy(x.numpy() * 1),
    "a pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "a file": lambda x: through_a_file(x),
    "a file of several": lambda x: through_a_file({"all": [x]})["all"][0],
    "a copy": lambda x: copy.deepcopy(x),
    "bytes": lambda x: torch.frombuffer(bytearray(bytes(x.untyped_storage()[:64])), dtype=x.dtype),
    "a storage": lambda x: torch.FloatTensor(x.storage()),  # type: ignore[no-untyped-call]
    "another tensor's storage": lambda x: torch.empty(0).set_(x.untyped_storage()),
    "text": lambda x: torch.tensor(float(re.findall(r"[\d.]+", str(x.mean()))[0])),
    "an address": lambda x: torch.tensor(ctypes.c_float.from_address(x.data_ptr()).value),
}


def through_a_file(content: Any) -> Any:
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


class Gated(nn.Module):
    def __init__(self, read: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.conv, self.read = nn.Conv2d(3, 1, 1), read

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if self.read is None else y * self.read(y.detach().contiguous()).mean()


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("name", READS)
def test_what_is_read_from_memory_is_a_selection(name: str) -> None:
    found = gradviz.receptive_field(Gated(READS[name]), torch.rand(3, 6, 6)).fields[0].structural
    assert found.status == "partial" and found.lost_at


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("name", READS)
def test_a_pass_without_numbers_has_none_to_read(name: str) -> None:
    """An address would be 0, and reading it the end of the process."""
    with pytest.raises(Untold):
        follow(gradviz.wrap(Gated(READS[name])), 3, (16, 16))


def test_memory_that_is_used_again_is_no_selection() -> None:
    class Reuses(nn.Module):
        """What comes after the first map is as large, and may lie where that was."""

        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            for _ in range(50):
                hidden = (y * 3).detach()
                del hidden
                y = y + torch.full_like(y, 0.5)
            return y

    found = gradviz.receptive_field(Reuses(), torch.rand(3, 64, 64)).fields[0].structural
    assert found.status == "exact"
