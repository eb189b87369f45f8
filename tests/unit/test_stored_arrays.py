"""Arrays of 16 bits and a scale: how far they are off, and what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import gradviz
from gradviz.errors import UsageError
from gradviz.runs.durable import is_whole
from gradviz.stored_arrays import write_halves


def stored(array: np.ndarray, path: Path) -> np.ndarray:
    with path.open("wb") as file:
        write_halves(array, file)
    return gradviz.load_array(path)


ANY = arrays.arrays(np.float32, arrays.array_shapes(max_dims=3), elements=st.floats(width=32))


@given(array=ANY)
def test_the_error_is_as_stated(
    array: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = stored(array, tmp_path_factory.mktemp("halves") / "a.npz")
    assert found.shape == array.shape and found.dtype == np.float32
    finite = np.isfinite(array)
    assert np.array_equal(found[~finite], array[~finite], equal_nan=True)
    exact, near = array[finite].astype(np.float64), found[finite].astype(np.float64)
    largest = np.abs(exact).max(initial=0)
    small = np.abs(exact) < 2.0**-28 * largest
    # float32 itself cannot hold what is below its smallest number.
    bound = np.where(small, 2.0**-39 * largest, 2.0**-11 * np.abs(exact)) + 2.0**-149
    assert (np.abs(near - exact) <= bound).all()
    assert np.array_equal(np.signbit(near), np.signbit(exact))
    assert (near[exact == 0] == 0).all()


def test_numbers_of_eleven_bits_stay_as_they_are(tmp_path: Path) -> None:
    array = np.array([[1, -2047, 0.25], [0, 2**20, -0.0]], np.float32)
    assert np.array_equal(stored(array, tmp_path / "a.npz"), array)


def test_it_is_compressed_and_the_same_bytes(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(3, 96, 96)).astype(np.float32)
    stored(array, tmp_path / "a.npz")
    stored(array, tmp_path / "b.npz")
    content = (tmp_path / "a.npz").read_bytes()
    assert content == (tmp_path / "b.npz").read_bytes() and len(content) < array.nbytes / 1.9


def test_files_of_numpy_are_loaded_too(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, 2]], np.float32))
    assert gradviz.load_array(str(tmp_path / "a.npy")).tolist() == [[1, 2]]


def archive(**content: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **content)  # type: ignore[arg-type]
    return file.getvalue()


def bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("values.npy", bytes(300 << 20))
    return file.getvalue()


HALF = np.zeros(3, np.float16)
REFUSED = {
    "empty": (b"", "damaged"),
    "words": (b"words", "damaged"),
    "cut short": (archive(values=HALF, scale=1.0)[:-9], "damaged"),
    "no scale": (archive(values=HALF), "damaged"),
    "scales": (archive(values=HALF, scale=[1.0, 2.0]), "one scale"),
    "text": (archive(values=np.array(["a"]), scale=1.0), "float16"),
    "objects": (archive(values=np.array([{}], object), scale=1.0), "damaged"),
    "a scale of text": (archive(values=HALF, scale="x"), "damaged"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    content, says = REFUSED[name]
    file = tmp_path / "a.npz"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=says):
        gradviz.load_array(file)


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(bomb())
    with pytest.raises(UsageError, match="would unpack to"):
        gradviz.load_array(tmp_path / "a.npz")


@pytest.mark.parametrize("lost", [1, 30, 200])
def test_what_a_power_cut_leaves_is_not_whole(lost: int, tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    stored(np.random.default_rng(0).normal(size=500), file)
    assert is_whole(file)
    content = file.read_bytes()
    file.write_bytes(content[:-lost])
    assert not is_whole(file)
    file.write_bytes(content[:100] + bytes(lost) + content[100 + lost :])
    assert not is_whole(file)
