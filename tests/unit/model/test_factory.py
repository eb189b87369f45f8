"""Architectures are built by the factory that the user names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gradviz.errors import ModelError, UsageError
from gradviz.model.formats.factory import build_network
from tests.helpers import small_nets

NETS = Path(small_nets.__file__)

TINY = "from torch import nn\n\ndef net(width=1):\n    return nn.Conv2d(3, width, 1)\n"


def test_a_module_and_a_file_give_the_same_network() -> None:
    by_module = build_network("tests.helpers.small_nets:small_net", {"width": 2, "classes": 5})
    by_file = build_network(f"{NETS}:small_net", {"width": 2, "classes": 5})
    shapes = {name: tensor.shape for name, tensor in by_module.state_dict().items()}
    assert shapes["head.weight"] == (5, 2)
    assert {name: tensor.shape for name, tensor in by_file.state_dict().items()} == shapes


def test_a_class_is_a_factory() -> None:
    made = build_network("torch.nn:Conv2d", {"in_channels": 3, "out_channels": 1, "kernel_size": 1})
    assert isinstance(made, torch.nn.Conv2d)


def test_modules_of_the_working_folder_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net_in_folder.py").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    before = sys.path[:]
    assert build_network("net_in_folder:net", {"width": 7}).get_parameter("weight").shape[0] == 7
    assert sys.path == before


def test_files_and_siblings_of_the_same_name_do_not_clash(tmp_path: Path) -> None:
    before = sys.path[:]
    for name, width in (("a", 2), ("b", 5)):
        folder = tmp_path / name
        (folder / "parts").mkdir(parents=True)
        (folder / "sizes.py").write_text("from parts.width import WIDTH\n")
        (folder / "parts" / "width.py").write_text(f"WIDTH = {width}\n")
        (folder / "net.py").write_text(
            "def net():\n    from torch import nn\n    from sizes import WIDTH\n"
            "    return nn.Conv2d(3, WIDTH, 1)\n"
        )
    for name, width in (("a", 2), ("b", 5), ("a", 2)):
        made = build_network(f"{tmp_path / name / 'net.py'}:net", {})
        assert made.get_parameter("weight").shape[0] == width
    assert sys.path == before
    assert not {"sizes", "parts", "parts.width"} & set(sys.modules)


def test_an_environment_below_the_file_stays_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / ".venv" / "packages"
    packages.mkdir(parents=True)
    (packages / "installed_package.py").write_text("WIDTH = 3\n")
    monkeypatch.syspath_prepend(packages)
    (tmp_path / "net.py").write_text("import installed_package\n" + TINY)
    build_network(f"{tmp_path / 'net.py'}:net", {})
    assert sys.modules.pop("installed_package").WIDTH == 3


def test_a_file_may_define_dataclasses(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from torch import nn\n\n@dataclass\nclass Sizes:\n    width: int = 4\n\n"
        "class Net(nn.Conv2d):\n    pass\n\n"
        "def net():\n    return Net(3, Sizes().width, 1)\n"
    )
    made = build_network(f"{tmp_path / 'net.py'}:net", {})
    assert made.get_parameter("weight").shape[0] == 4
    assert sys.modules[type(made).__module__].__file__ == str(tmp_path / "net.py")


@pytest.mark.parametrize(
    ("arch", "arguments", "part"),
    [
        ("small_net", {}, "expected package.module:factory"),
        (":small_net", {}, "expected package.module:factory"),
        ("tests.helpers.small_nets:", {}, "expected package.module:factory"),
        ("tests.helpers.small_nets:smal_net", {}, "did you mean small_net"),
        ("tests.helpers.small_nets:constant", {}, "constant"),
        ("gradvis:small_net", {}, "no module gradvis; did you mean gradviz"),
        (
            "tests.helpers.small_netz:small_net",
            {},
            "no module tests.helpers.small_netz; did you mean small_nets",
        ),
        ("torch.exports:Dim", {}, "no module torch.exports; did you mean export"),
        ("tests.helpers.small_nets.inner:net", {}, "no module tests.helpers.small_nets.inner"),
        (f"{NETS.with_name('small_net.py')}:small_net", {}, "did you mean small_nets.py"),
        ("tests.helpers.small_nets:small_net", {"widht": 3}, "did you mean width"),
        ("torch.nn:Conv2d", {"in_channels": 3}, "out_channels"),
    ],
)
def test_a_spec_that_names_nothing(arch: str, arguments: dict[str, object], part: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_network(arch, arguments)
    message = str(caught.value)
    assert message.startswith(f"--arch {arch}: ")
    assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("factory", "part"),
    [
        ("raises", "ValueError: width"),
        ("leaves", "SystemExit: 2"),
        ("no_module", "torch.nn.Module, got a str"),
    ],
)
def test_a_factory_that_fails(factory: str, part: str) -> None:
    with pytest.raises(ModelError, match=part):
        build_network(f"tests.helpers.small_nets:{factory}", {})


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("def net(:\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, part: str
) -> None:
    (tmp_path / "broken_net.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    before = sys.path[:]
    for arch in ("broken_net.py:net", "broken_net:net"):
        with pytest.raises(ModelError, match=part):
            build_network(arch, {})
    assert sys.path == before


PRETRAINED = """
from enum import Enum

from torch import nn


class Weights(Enum):
    DEFAULT = 1


class Net(nn.Module):
    def __init__(self, given):
        super().__init__()
        self.given = given

    @classmethod
    def build(cls, weights, weights_backbone=Weights.DEFAULT, pretrained=True, encoder_weights="x"):
        return cls([weights, weights_backbone, pretrained, encoder_weights])

    @classmethod
    def quiet(cls, weights=(1, 2), pretrained=3):
        return cls([weights, pretrained])
"""


@pytest.mark.parametrize(
    ("name", "arguments", "given"),
    [
        ("Net.build", {}, [None, None, False, None]),
        ("Net.build", {"encoder_weights": "imagenet"}, [None, None, False, "imagenet"]),
        ("Net.quiet", {}, [(1, 2), 3]),  # their defaults ask for no download
    ],
)
def test_a_dotted_factory_downloads_nothing_unasked(
    tmp_path: Path, name: str, arguments: dict[str, object], given: list[object]
) -> None:
    (tmp_path / "net.py").write_text(PRETRAINED)
    made: Any = build_network(f"{tmp_path / 'net.py'}:{name}", arguments)
    assert made.given == given


def test_a_dotted_factory_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(PRETRAINED)
    with pytest.raises(UsageError, match=r"there is no biuld; did you mean build\?"):
        build_network(f"{tmp_path / 'net.py'}:Net.biuld", {})
