"""HEIC pictures, with pillow_heif and without it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from gradviz.errors import ImageError
from gradviz.image import find
from gradviz.image.read import read_image


def heic(path: Path, image: Image.Image, **options: object) -> Path:
    pillow_heif.from_pillow(image).save(path, quality=100, chroma=444, **options)
    return path


@pytest.fixture
def photo() -> Image.Image:
    """A photo of 64×40 pixels, dark at the left and bright at the top right."""
    levels = np.add.outer(np.linspace(60, 0, 40), np.linspace(0, 180, 64))
    return Image.fromarray(np.stack([levels, levels / 2, 255 - levels], -1).astype(np.uint8))


def test_its_pixels(tmp_path: Path, photo: Image.Image) -> None:
    picture = read_image(heic(tmp_path / "x.heic", photo))
    assert (picture.kind, picture.levels.shape, picture.white) == ("picture", (3, 40, 64), 255)
    difference = picture.levels.astype(int) - np.asarray(photo).transpose(2, 0, 1)
    assert abs(difference).max() <= 6


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 16 * 24 * 3).astype(np.uint16).reshape(16, 24, 3)
    deep = pillow_heif.from_bytes(mode="RGB;16", size=(24, 16), data=ramp.tobytes())
    deep.save(tmp_path / "x.heic", quality=-1)
    picture = read_image(tmp_path / "x.heic")
    assert picture.levels.dtype == np.uint8
    assert abs(picture.pixels - ramp.transpose(2, 0, 1) / 65535).max() < 0.01


def test_it_is_upright(tmp_path: Path, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = heic(tmp_path / "x.heic", photo, exif=exif.tobytes())
    turned = photo.copy()
    turned.getexif()[0x0112] = 6
    upright = np.asarray(ImageOps.exif_transpose(turned)).transpose(2, 0, 1)
    levels = read_image(path).levels
    assert levels.shape == upright.shape == (3, 64, 40)
    assert abs(levels.astype(int) - upright).max() <= 6


def test_its_size_is_known_before_it_is_decoded(tmp_path: Path, photo: Image.Image) -> None:
    path = heic(tmp_path / "x.heic", photo)
    with pytest.raises(ImageError, match=r"x\.heic: 64x40 pixels, expected at most 2559 in all"):
        read_image(path, max_pixels=2559)


def test_half_a_file(tmp_path: Path, photo: Image.Image) -> None:
    whole = heic(tmp_path / "x.heic", photo).read_bytes()
    (tmp_path / "x.heic").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"x\.heic: cannot be decoded") as caught:
        read_image(tmp_path / "x.heic")
    assert "\n" not in str(caught.value)


def test_without_the_library(
    tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = heic(tmp_path / "x.heic", photo)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value) == (
        f"{path}: a HEIC picture needs pillow_heif: pip install 'gradviz[heif]', or save it as PNG "
        "or JPEG"
    )


@pytest.mark.parametrize("there", [True, False])
def test_folders_are_searched_for_it_if_it_can_be_read(
    tmp_path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    heic(tmp_path / "x.HEIC", photo)
    photo.save(tmp_path / "y.png")
    if not there:
        monkeypatch.setattr(find, "find_spec", lambda name: None)
    find._suffixes.cache_clear()
    found = find.find_images([str(tmp_path)], None)
    monkeypatch.undo()
    find._suffixes.cache_clear()
    assert [source.name for source in found.sources] == ["x.HEIC", "y.png"][not there :]


def test_of_several_pictures_one_is_read_and_the_others_are_told_of(tmp_path: Path) -> None:
    """The main picture of a burst need not be its first."""
    pictures = [Image.new("RGB", (16 + 16 * n, 16), (80 * n,) * 3) for n in range(3)]
    path = tmp_path / "x.heic"
    burst = pillow_heif.HeifFile()
    for picture in pictures:
        burst.add_from_pillow(picture)
    burst.save(path, quality=100, primary_index=1)
    first = read_image(path)
    assert first.levels.shape == (3, 16, 32)
    assert first.notes == ("the main one of 3 pages or frames is used; choose one with --page N",)
    for page in (1, 2, 3):
        chosen = read_image(path, page=page)
        assert chosen.notes == () and chosen.levels.shape == (3, 16, 16 * page)
        assert abs(chosen.levels.astype(int) - 80 * (page - 1)).max() <= 4
    with pytest.raises(ImageError, match="has no page 4; expected --page 1 to 3"):
        read_image(path, page=4)
