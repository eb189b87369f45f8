"""Small models of other libraries, saved once for all tests of a process."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.torchvision_here import make_torchvision_importable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of libraries that use what others deprecate
    make_torchvision_importable()

from tests.libraries.small_transformers import SMALL, Small


def randomise(module: nn.Module) -> None:
    """Draw weights under which a gradient reaches the input, whatever the library initialises."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter)
        else:
            nn.init.uniform_(parameter, 0.5, 1)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Small]]:
    """The folder of a small model of transformers by its name, and the model itself."""
    root = tmp_path_factory.mktemp("transformers")

    @cache
    def save(name: str) -> tuple[Path, Small]:
        small = SMALL[name]()
        randomise(small.model)
        small.model.eval().save_pretrained(root / name)
        return root / name, small

    return save


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every attempt to reach another machine fail the test."""

    def connect(*arguments: object) -> None:
        pytest.fail(f"connects to {arguments}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
