"""One small network, saved in every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradviz.model.load import load_model
from gradviz.model.model import Model
from gradviz.model.support import Format
from tests.helpers import small_nets as nets
from tests.helpers.formats import WRITERS, export, save

EXAMPLE = (2, 3, 8, 8)

KINDS = {
    "checkpoint.pt": Format.STATE_DICT,
    "legacy.pth": Format.STATE_DICT,
    "weights.safetensors": Format.STATE_DICT,
    "pickled.pt": Format.PICKLED,
    "scripted.ts": Format.SCRIPT,
    "traced.ts": Format.SCRIPT,
    "frozen.ts": Format.FROZEN,
    "frozen_trace.ts": Format.FROZEN,
    "static.pt2": Format.EXPORTED,
    "dynamic.pt2": Format.EXPORTED,
}


@pytest.fixture(scope="session")
def net() -> nn.Module:
    """The network itself, evaluating: what every file must agree with."""
    made: nn.Module = nets.small_net().eval()
    return made


@pytest.fixture(scope="session")
def files(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the network in every format, named as in KINDS."""
    folder = tmp_path_factory.mktemp("formats")
    x = torch.rand(EXAMPLE)
    torch.save({"state_dict": net.state_dict(), "epoch": 3}, folder / "checkpoint.pt")
    save(net, x, folder, *(name for name in KINDS if name in WRITERS and name != "checkpoint.pt"))
    export(net, x, folder / "static.pt2")
    export(net, x, folder / "dynamic.pt2", 0, 2, 3)
    return folder


Load = Callable[..., Model]


@pytest.fixture(scope="session")
def load(files: Path) -> Load:
    """Load a file of `files` with what its format needs."""

    def load(kind: str, **options: Any) -> Model:
        if KINDS[kind] is Format.STATE_DICT:
            options = {"arch": nets.ARCH, **options}
        trust = KINDS[kind] in (Format.PICKLED, Format.EXPORTED)
        return load_model(files / kind, trust=trust, **options)

    return load


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def image() -> Tensor:
    """A batch of the exported size that requires a gradient."""
    torch.manual_seed(1)
    return torch.rand(EXAMPLE).requires_grad_()
