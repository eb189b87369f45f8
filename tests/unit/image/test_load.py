"""An image file becomes a tensor, and its photo is what a person sees."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradviz.errors import ImageError
from gradviz.image.find import Source
from gradviz.image.load import load_image, load_photo
from gradviz.image.preprocess import Preprocess

LEVELS = np.arange(60, dtype=np.uint8).reshape(4, 5, 3) * 4


@pytest.fixture
def photo(tmp_path: Path) -> Source:
    Image.fromarray(LEVELS).save(tmp_path / "a.png")
    return Source(tmp_path / "a.png", "a.png")


def test_a_file_is_loaded(photo: Source) -> None:
    loaded = load_image(photo, Preprocess(resize=(10, 8)))
    assert loaded.name == "a.png" and loaded.prepared.tensor.shape == (3, 8, 10)
    assert loaded.prepared.frame.image == (5, 4)
    plain = load_image(photo, Preprocess()).prepared.tensor.numpy()
    np.testing.assert_allclose(plain, LEVELS.transpose(2, 0, 1) / 255, rtol=1e-6)


def test_a_photo_is_the_whole_file(photo: Source) -> None:
    assert np.array_equal(load_photo(photo, Preprocess(resize=2, crop=1)), LEVELS)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png: is no regular file"):
        load_image(Source(tmp_path / "pipe.png", "pipe.png"), Preprocess())


def test_a_message_names_the_file_once(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    source = Source(tmp_path / "text.png", "text.png")
    with pytest.raises(ImageError) as error:
        load_image(source, Preprocess())
    assert str(error.value).startswith(f"{source.path}: ")
    assert str(error.value).count(str(tmp_path)) == 1
