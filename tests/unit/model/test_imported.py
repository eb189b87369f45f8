"""A network's code is known by its files and the versions of its packages."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import Result

from gradviz.commands.saliency.settings import Settings
from gradviz.image.preprocess import Preprocess
from gradviz.model.formats.factory import build_network
from gradviz.model.formats.imported import ImportedCode
from gradviz.model.load import wrap
from gradviz.runs.record import RunSetup, changes_between, describe
from tests.helpers.processes import gradviz as process
from tests.helpers.processes import photos

Gradviz = Callable[..., Result]

USES = """
from torch import nn
from {module} import width
def net():
    return nn.Conv2d(3, width, 1)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path("imported_size.py").write_text("width = 1\n")
    Path("imported_net.py").write_text(USES.format(module="imported_size"))
    Path("imported_pack").mkdir()
    Path("imported_pack/__init__.py").write_text("")
    Path("imported_pack/size.py").write_text("width = 1\n")
    Path("imported_pack/net.py").write_text(USES.format(module="imported_pack.size"))
    return tmp_path


def code_of(arch: str) -> ImportedCode:
    found: list[ImportedCode] = []
    build_network(arch, {}, found.append)
    return found[0]


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("arch", "files"),
    [
        ("imported_net.py:net", ["imported_net.py", "imported_size.py"]),
        (
            "imported_pack.net:net",
            ["imported_pack/__init__.py", "imported_pack/net.py", "imported_pack/size.py"],
        ),
    ],
)
def test_files_beside_and_below_are_told(arch: str, files: list[str], place: Path) -> None:
    for _ in range(2):  # a package stays imported
        assert code_of(arch).files == {name: sha256(name) for name in files}


def test_installed_packages_are_told_by_version(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place / "site"
    folder.mkdir()
    (folder / "imported_wheel.py").write_text("__version__ = '4.2'\nwidth = 1\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr("gradviz.model.formats.imported._installed", lambda: (folder,))
    Path("imported_net.py").write_text(USES.format(module="imported_wheel"))
    code = code_of("imported_net.py:net")
    assert code.packages == {"imported_wheel": "4.2"}
    assert [*code.files] == ["imported_net.py"]
    monkeypatch.delitem(sys.modules, "imported_wheel")


def test_another_version_of_a_package_is_another_run() -> None:
    """So `--resume` refuses it, and `compare` names it."""
    records = [
        describe(
            RunSetup(
                "saliency",
                replace(wrap(nn.Identity()), code=ImportedCode(packages={"wheel": version})),
                Preprocess(),
                Settings(),
            ),
            *([], [], []),
        )
        for version in ("4.2", "4.3")
    ]
    assert [*changes_between(*records)] == ["versions.wheel was 4.2, is 4.3"]
    assert [*changes_between(records[0], records[0])] == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("arch", "module"),
    [
        ("imported_net.py:net", "imported_size.py"),
        ("imported_pack.net:net", "imported_pack/size.py"),
    ],
)
def test_another_module_that_a_factory_imports_is_another_run(
    arch: str, module: str, place: Path
) -> None:
    torch.save(nn.Conv2d(3, 1, 1).state_dict(), "weights.pt")
    words = ["saliency", "weights.pt", str(photos(place / "in", 1)), "--arch", arch, "-q"]
    assert process(*words).returncode == 0
    Path(module).write_text("width = 1  # another\n")
    done = process(*words, "--resume")
    assert done.returncode == 2 and f"files.{module} was" in done.stderr, done.stderr
    assert process(*words, "-o", "now").returncode == 0
    done = process("compare", "gradviz-out", "now")
    assert done.returncode == 0 and Path(module).name in done.stderr, done.stderr
