"""Array files, written by NumPy, torch and safetensors themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gradviz.errors import UsageError
from gradviz.image.array import array_format, read_array

VALUES = np.arange(24).reshape(2, 3, 4)


def write(path: Path, content: Any) -> Path:
    """In the format that the suffix names."""
    if path.suffix == ".npy":
        np.save(path, content, allow_pickle=True)
    elif path.suffix == ".safetensors":
        save_file(content if isinstance(content, dict) else {"x": content}, path)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int64", "float16", "<f4", ">f4"])
def test_numpy(tmp_path: Path, dtype: str) -> None:
    values = VALUES.astype(dtype)
    array = read_array(write(tmp_path / "x.npy", values))
    np.testing.assert_array_equal(array, values)
    assert array.dtype == values.dtype.newbyteorder("=")
    torch.from_numpy(array)  # which takes no foreign byte order


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64])
def test_torch_and_safetensors(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(VALUES).to(dtype)
    array = read_array(write(tmp_path / f"x{suffix}", tensor))
    assert torch.equal(torch.from_numpy(array), tensor)
    assert torch.from_numpy(array).dtype == dtype


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e5m2])
def test_floats_that_numpy_lacks(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    tensor = torch.tensor([1 / 3, -2.0, 1e4]).to(dtype)
    array = read_array(write(tmp_path / f"x{suffix}", tensor))
    assert array.dtype == np.float32
    assert torch.equal(torch.from_numpy(array), tensor.float())


def test_a_parameter_and_an_old_torch_file(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    torch.save(parameter, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert read_array(tmp_path / "x.pt").tolist() == [1, 1]


@pytest.mark.parametrize(
    ("suffix", "name"), [(".npy", "numpy"), (".pt", "torch"), (".safetensors", "safetensors")]
)
def test_the_content_tells_the_format(tmp_path: Path, suffix: str, name: str) -> None:
    content = VALUES if suffix == ".npy" else torch.from_numpy(VALUES)
    path = write(tmp_path / f"x{suffix}", content).rename(tmp_path / "picture.png")
    assert array_format(path) == name
    np.testing.assert_array_equal(read_array(path), VALUES)


class Harmful:
    """Would leave a mark if it were unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("suffix", [".pt", ".npy"])
def test_no_code_of_the_file_runs(tmp_path: Path, suffix: str) -> None:
    harmful = Harmful(tmp_path / "mark")
    content = np.array([harmful], dtype=object) if suffix == ".npy" else harmful
    path = write(tmp_path / f"x{suffix}", content)
    with pytest.raises(UsageError) as caught:
        read_array(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice is to load it all the same
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.pt", {"a": torch.ones(1)}, "expected one tensor, got a dict"),
        ("x.safetensors", {"a": torch.ones(1), "b": torch.ones(1)}, "expected one tensor, got 2"),
        ("x.npy", np.array([1j]), "holds complex128 values"),
        ("x.npy", np.array(["text"]), "holds <U4 values"),
    ],
)
def test_what_is_not_one_array(tmp_path: Path, name: str, content: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read_array(write(tmp_path / name, content))


@pytest.mark.parametrize("suffix", [".npy", ".pt", ".safetensors"])
def test_a_truncated_file(tmp_path: Path, suffix: str) -> None:
    content = VALUES if suffix == ".npy" else torch.from_numpy(VALUES)
    path = write(tmp_path / f"x{suffix}", content)
    whole = path.read_bytes()
    for length in (4, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError) as caught:
            read_array(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>", b"12345678{not as long as it says}"])
def test_another_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    assert array_format(tmp_path / "x.npy") is None
    with pytest.raises(UsageError, match=r"x\.npy: not an array"):
        read_array(tmp_path / "x.npy")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_array(tmp_path / "missing.npy")


def test_a_tensor_larger_than_its_file_is_refused_if_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight bytes a number: allowed are 800 bytes, or ten times what is stored."""
    monkeypatch.setattr("gradviz.image.array.ALLOWED", 800)
    file = tmp_path / "x.pt"
    stored = torch.zeros(20, dtype=torch.float64)
    for tensor in (
        stored[:1].clone().expand(100),
        stored[:, None].expand(20, 10),
        stored.repeat(9),
    ):
        torch.save(tensor, file)
        assert read_array(file).shape == tensor.shape
    for tensor in (stored[:1].clone().expand(101), stored[:, None].expand(20, 11)):
        torch.save(tensor, file)
        with pytest.raises(UsageError, match=r"made of \d+ bytes; write it with torch\.save"):
            read_array(file)
