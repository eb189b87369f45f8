"""Files are told by their content, whatever they are called."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gradviz.errors import ModelError, UsageError
from gradviz.model.formats.recognise import Content, recognise


def test_every_format_under_a_misleading_name(files: Path, kind: str, tmp_path: Path) -> None:
    shutil.copy(files / kind, tmp_path / "model.yaml")
    suffixes = {".ts": Content.TORCHSCRIPT, ".pt2": Content.EXPORTED}
    suffixes |= {".pt": Content.SAVED, ".pth": Content.SAVED, ".safetensors": Content.SAFETENSORS}
    assert recognise(tmp_path / "model.yaml") is suffixes[Path(kind).suffix]


def test_the_first_layout_of_exported_programs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("version", "1.0")
        archive.writestr("serialized_exported_program.json", "{}")
    assert recognise(tmp_path / "old.pt2") is Content.EXPORTED


def test_a_card_is_yaml_by_its_suffix(tmp_path: Path) -> None:
    for name in ("a.yaml", "a.YML"):
        (tmp_path / name).write_text("model: a.pt\n")
        assert recognise(tmp_path / name) is Content.CARD


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "empty"),
        (POINTER.encode(), "git lfs pull"),
        (b"\n <!DOCTYPE HTML><html><title>404</title>", "HTML"),
        (b"<html>", "HTML"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
        (b"\x1c\0\0\0TFL3" + bytes(20), "TFLite"),
        (b"\x08\x07\x12\x07pytorch\x1a\x032.1", "ONNX"),
        (b"\x80\x04\x95\x05\0\0\0\0\0\0\0}\x94.", "pickle"),
        (b"just some words\n", "plain text"),
        ("Größe\n".encode(), "plain text"),
        (b"\x00\x01\x02\x03", "00 01 02 03"),
        (b"\xff\xff\0\0\0\0\0\0{", "cut short"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.pt: ") as caught:
        recognise(tmp_path / "model.pt")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_other_programs_write(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with gzip.open(tmp_path / "gzip", "wb") as file:
        file.write(b"hello")
    with tarfile.open(tmp_path / "tar", "w") as archive:
        archive.add(tmp_path / "text", "text")
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    Image.new("RGB", (2, 2)).save(tmp_path / "image.png")
    Image.new("RGB", (2, 2)).save(tmp_path / "image.jpg")
    for name, part in {
        "gzip": "gzip",
        "tar": "tar archive",
        "array.npy": "NumPy",
        "arrays.npz": "a.npy",
        "image.png": "image",
        "image.jpg": "image",
    }.items():
        with pytest.raises(ModelError, match=part):
            recognise(tmp_path / name)


@pytest.mark.parametrize("kind", ["checkpoint.pt", "scripted.ts", "static.pt2"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_zip_file_that_is_cut_short(files: Path, tmp_path: Path, kind: str, kept: float) -> None:
    whole = (files / kind).read_bytes()
    (tmp_path / kind).write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ModelError, match="cut short"):
        recognise(tmp_path / kind)


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.pt: no such model file"):
        recognise(tmp_path / "nothing.pt")
    with pytest.raises(UsageError, match="is a folder"):
        recognise(tmp_path)


@given(content=st.binary(max_size=64))
def test_no_content_breaks_it(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(content)
    try:
        recognise(path)
    except ModelError as error:
        assert "\n" not in str(error)
