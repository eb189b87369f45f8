"""Nothing in a file runs without `--trust`, and the refusal says what would have run."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gradviz.errors import ModelError, TrustError
from gradviz.model.load import load_model
from gradviz.model.support import Format
from tests.helpers.small_nets import ARCH


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "it-ran")


def refused(path: Path, canary: Canary, **options: Any) -> str:
    with pytest.raises(TrustError) as caught:
        load_model(path, **options)
    assert not canary.folder.exists()
    message = str(caught.value)
    assert str(path) in message
    assert "--trust" in message
    assert "\n" not in message
    return message


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_with_a_canary(
    tmp_path: Path, net: nn.Module, canary: Canary, zipped: bool, protocol: int
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(
        {"state_dict": net.state_dict(), "extra": canary},
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    message = refused(path, canary, arch=ARCH)
    assert f"it names {os.mkdir.__module__}.mkdir)" in message
    # With trust it does run: the canary can sing.
    model = load_model(path, arch=ARCH, trust=True)
    assert canary.folder.exists()
    assert (model.format, model.weights_key) == (Format.STATE_DICT, "state_dict")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module_with_a_canary(
    tmp_path: Path, net: nn.Module, canary: Canary, zipped: bool
) -> None:
    path = tmp_path / "module.pt"
    module: Any = nn.Sequential(net)
    module.canary = canary
    torch.save(module, path, _use_new_zipfile_serialization=zipped)
    message = refused(path, canary)
    for name in ("tests.helpers.small_nets.SmallNet", "Conv2d", "mkdir"):
        assert name in message
    assert "OrderedDict" not in message  # torch loads it as plain data
    assert load_model(path, trust=True).format is Format.PICKLED
    assert canary.folder.exists()


def test_sample_inputs_of_an_exported_program_with_a_canary(
    tmp_path: Path, files: Path, canary: Canary
) -> None:
    path = tmp_path / "program.pt2"
    inputs = io.BytesIO()
    torch.save(((torch.rand(2, 3, 8, 8), canary), {}), inputs)
    with zipfile.ZipFile(files / "static.pt2") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            replaced = name.endswith("sample_inputs/model.pt")
            new.writestr(name, inputs.getvalue() if replaced else old.read(name))
    assert "mkdir" in refused(path, canary)
    torch.load(io.BytesIO(inputs.getvalue()), weights_only=False)
    assert canary.folder.exists()


def test_an_exported_program_needs_trust_at_once(files: Path, canary: Canary) -> None:
    message = refused(files / "static.pt2", canary)
    assert "it names" not in message
    assert load_model(files / "static.pt2", trust=True).format is Format.EXPORTED


def test_torch_is_always_told_whether_to_run_code(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    real = torch.load

    def spy(*args: Any, **options: Any) -> Any:
        told.append(options["weights_only"])
        return real(*args, **options)

    monkeypatch.setattr(torch, "load", spy)
    load_model(files / "checkpoint.pt", arch=ARCH)
    with pytest.raises(TrustError):
        load_model(files / "pickled.pt")
    assert told == [True, True]
    load_model(files / "pickled.pt", trust=True)
    assert told == [True, True, False]


def test_a_module_inside_a_checkpoint(tmp_path: Path, net: nn.Module) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"epoch": 3, "model": net}, path)
    x = torch.rand(2, 3, 8, 8)
    whole = load_model(path, trust=True)
    assert (whole.format, whole.weights_key) == (Format.PICKLED, "model")
    built = load_model(path, trust=True, arch=ARCH)
    assert (built.format, built.weights_key) == (Format.STATE_DICT, "model")
    for model in (whole, built):
        torch.testing.assert_close(model(x), net(x))


SOURCE = "from torch import nn\n\nclass Net(nn.Conv2d):\n    pass\n"


def pickled_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pickled module whose class is in a module of `folder` that this process has forgotten."""
    (folder / "elsewhere.py").write_text(SOURCE)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(folder)
        torch.save(importlib.import_module("elsewhere").Net(3, 1, 1), folder / "net.pt")
    del sys.modules["elsewhere"]
    return folder / "net.pt"


def test_a_class_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pickled_elsewhere(tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=r"the module elsewhere, .*run gradviz from the folder"):
        load_model(path, trust=True)
    monkeypatch.chdir(tmp_path)
    assert load_model(path, trust=True).format is Format.PICKLED
    del sys.modules["elsewhere"]
    (tmp_path / "elsewhere.py").write_text("# the class is gone, and the text is longer\n" * 3)
    with pytest.raises(ModelError, match=r"needs a class .*Net.*--arch"):
        load_model(path, trust=True)
    del sys.modules["elsewhere"]


@pytest.mark.parametrize("trust", [True, False])
@pytest.mark.parametrize("kept", [60, 400])
def test_a_legacy_file_that_is_cut_short(
    files: Path, tmp_path: Path, kept: int, trust: bool
) -> None:
    (tmp_path / "cut.pth").write_bytes((files / "legacy.pth").read_bytes()[:kept])
    with pytest.raises(ModelError, match="damaged"):
        load_model(tmp_path / "cut.pth", arch=ARCH, trust=trust)


@pytest.mark.parametrize("kind", ["checkpoint.pt", "scripted.ts", "static.pt2"])
def test_a_zip_file_with_a_flipped_byte_in_its_data(files: Path, tmp_path: Path, kind: str) -> None:
    content = bytearray((files / kind).read_bytes())
    with zipfile.ZipFile(files / kind) as archive:
        start = archive.getinfo(
            next(n for n in archive.namelist() if n.endswith(("data.pkl", "model.json")))
        ).header_offset
    content[start + 120 : start + 140] = b"\xff" * 20
    (tmp_path / kind).write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        load_model(tmp_path / kind, arch=ARCH if kind == "checkpoint.pt" else None, trust=True)


def test_an_exported_program_with_damaged_sample_inputs(files: Path, tmp_path: Path) -> None:
    content = bytearray((files / "static.pt2").read_bytes())
    with zipfile.ZipFile(files / "static.pt2") as archive:
        start = archive.getinfo(
            next(name for name in archive.namelist() if name.endswith(".pt"))
        ).header_offset
    content[start + 300 : start + 320] = b"\xff" * 20
    (tmp_path / "program.pt2").write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        load_model(tmp_path / "program.pt2")


def test_the_scan_reads_what_pickle_writes(tmp_path: Path, canary: Canary) -> None:
    """Against pickle's own find_class, which every protocol ends in."""
    from gradviz.model.formats.trust import _globals_in_pickle

    met: set[str] = set()

    class Watching(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            met.add(f"{module} {name}")
            return lambda *args, **options: None

    value = [canary, Path("a"), canary, complex(1, 2), {1, 2}, "os", "path"]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        met.clear()
        data = pickle.dumps(value, protocol)
        Watching(io.BytesIO(data)).load()
        assert set(_globals_in_pickle(io.BytesIO(data))) == met
        assert any("mkdir" in name for name in met)
    assert not canary.folder.exists()
