"""The share of a map's energy inside a mask, pixel by pixel and in exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gradviz.commands.saliency.pointing import energy_inside, find_masks
from gradviz.errors import ImageError, UsageError
from gradviz.image.find import Source
from gradviz.image.frame import Frame, frame_of
from gradviz.image.preprocess import Preprocess

G = np.array([[[1, -2], [0, 3]], [[1, 0], [0, -1]]], np.float32)
"""Σ|g| is [[2, 2], [0, 4]], so the energies are [[4, 4], [0, 16]]."""


def frame(
    image: tuple[int, int],
    resized: tuple[int, int] | None = None,
    origin: tuple[int, int] = (0, 0),
    size: tuple[int, int] | None = None,
) -> Frame:
    return Frame(image, resized or image, origin, size or resized or image)


def saved(folder: Path, mask: object, name: str = "mask.png") -> Path:
    Image.fromarray(np.array(mask, np.uint8)).save(folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("mask", "share"),
    [
        ([[255, 0], [0, 0]], 4 / 24),
        ([[0, 1], [1, 1]], 20 / 24),  # labels that look black are not
        ([[0, 0], [9, 0]], 0),
        ([[1, 1], [1, 1]], 1),
    ],
)
def test_by_hand(tmp_path: Path, mask: list[list[int]], share: float) -> None:
    assert energy_inside(G, frame((2, 2)), saved(tmp_path, mask)) == pytest.approx(share)


def test_nan_counts_nothing_and_a_zero_map_has_no_share(tmp_path: Path) -> None:
    mask = saved(tmp_path, [[1, 0], [0, 0]])
    broken = G.copy()
    broken[0, 1, 1] = np.nan  # of that pixel, the other channel's 1 is left
    assert energy_inside(broken, frame((2, 2)), mask) == pytest.approx(4 / 9)
    assert math.isnan(energy_inside(0 * G, frame((2, 2)), mask))


def test_a_map_of_values_whose_squares_are_no_float32(tmp_path: Path) -> None:
    mask = saved(tmp_path, [[1, 0], [0, 1]])
    for scale in (1e30, 1e-30):
        found = energy_inside(np.float32(scale) * G, frame((2, 2)), mask)
        assert found == pytest.approx(20 / 24)


def test_an_array_is_a_mask_too(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.array([[False, True], [False, False]]))
    assert energy_inside(G, frame((2, 2)), tmp_path / "mask.npy") == pytest.approx(4 / 24)


def test_the_mask_is_cropped_and_resized_as_the_image_was(tmp_path: Path) -> None:
    # 8×4 pixels of the file become 4×2, of which the right half, 2×2, enters the model.
    mask = np.zeros((4, 8))
    mask[0:2, 4:6] = 1  # the upper left of what enters
    mask[:, :4] = 1  # cropped away
    where = frame((8, 4), (4, 2), (2, 0), (2, 2))
    assert energy_inside(G, where, saved(tmp_path, mask)) == pytest.approx(4 / 24)


def test_a_layer_is_as_wide_as_the_input(tmp_path: Path) -> None:
    mask = np.zeros((6, 6))
    mask[3:, 3:] = 1
    assert energy_inside(G, frame((6, 6)), saved(tmp_path, mask)) == pytest.approx(16 / 24)


@given(st.data())
def test_where_the_mask_is_looked_up(data: st.DataObject) -> None:
    image, resized = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    origin = data.draw(st.integers(0, resized - 1))
    size = data.draw(st.integers(1, resized - origin))
    where = frame((image, 1), (resized, 1), (origin, 0), (size, 1))
    found = where.in_input(np.arange(image)[None], -1)
    centres = [Fraction(2 * (u + origin) + 1, 2) * image / resized for u in range(size)]
    assert found.tolist() == [[math.floor(centre) for centre in centres]]
    for u, x in enumerate(found[0]):
        left, _ = where.to_image(u, 0)
        right, _ = where.to_image(u + 1, 0)
        assert left < x + 1 and x < right  # the file's pixel and the input's overlap


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    mask = saved(tmp_path, [[1, 0, 0], [0, 0, 1]])
    with pytest.raises(ImageError, match="a mask of 3x2 pixels, expected 2x2 as in the image"):
        energy_inside(G, frame((2, 2)), mask)


def test_a_mask_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"mask\.png: not an image"):
        energy_inside(G, frame((2, 2)), tmp_path / "mask.png")


def test_a_map_without_places_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no places; name another --layer"):
        energy_inside(G[0], frame((2, 2)), saved(tmp_path, [[1]]))


def sources(*names: str) -> list[Source]:
    return [Source(Path("photos", name), name) for name in names]


def test_one_mask_for_all_images(tmp_path: Path) -> None:
    mask = saved(tmp_path, [[1]])
    assert find_masks(mask, sources("a.png", "b.jpg")) == {"a.png": mask, "b.jpg": mask}


def test_a_folder_of_masks(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    masks = saved(tmp_path, [[1]], "a.png"), saved(tmp_path, [[1]], "deep/a.b.PNG")
    (tmp_path / "a.txt").touch()
    found = find_masks(tmp_path, sources("a.jpg", "deep/a.b.webp"))
    assert found == dict(zip(("a.jpg", "deep/a.b.webp"), masks, strict=True))


def test_a_folder_without_the_mask_or_with_two(tmp_path: Path) -> None:
    saved(tmp_path, [[1]], "a.png")
    with pytest.raises(UsageError, match=r"no mask for deep/a\.jpg; expected deep/a with"):
        find_masks(tmp_path, sources("a.jpg", "deep/a.jpg"))
    saved(tmp_path, [[1]], "a.gif")
    with pytest.raises(UsageError, match=r"a\.gif and a\.png could each be the mask of a\.jpg"):
        find_masks(tmp_path, sources("a.jpg"))


def test_a_mask_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--inside .*mask\.png: no such file or folder"):
        find_masks(tmp_path / "mask.png", sources("a.jpg"))


def test_a_cell_of_a_layer_is_looked_up_at_its_middle(tmp_path: Path) -> None:
    """A map of 2 × 2 cells over 6 × 6 pixels: the middles are at 1.5 and 4.5, in pixels 1 and 4."""
    layer = np.array([[[1, 2], [3, 4]]], np.float32)
    squares = layer[0].astype(float) ** 2
    frame = frame_of((6, 6), Preprocess())
    for row in range(6):
        for column in range(6):
            mask = np.zeros((6, 6), np.float32)
            mask[row, column] = 1
            np.save(tmp_path / "m.npy", mask)
            found = energy_inside(layer, frame, tmp_path / "m.npy")
            cells = {1: 0, 4: 1}
            expected = (
                squares[cells[row], cells[column]] / squares.sum()
                if row in cells and column in cells
                else 0
            )
            assert found == pytest.approx(expected)


def test_transparent_parts_of_a_mask_are_outside(tmp_path: Path) -> None:
    levels = np.full((2, 3, 4), 255, np.uint8)
    levels[:, 1:, 3] = 0
    Image.fromarray(levels, "RGBA").save(tmp_path / "m.png")
    found = energy_inside(
        np.ones((1, 2, 3), np.float32), frame_of((3, 2), Preprocess()), tmp_path / "m.png"
    )
    assert found == pytest.approx(1 / 3)
