"""The map between the file's pixels and the tensor's, by exact fractions and end to end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from gradviz.errors import SeedError
from gradviz.image.frame import Frame, frame_of
from gradviz.image.prepare import Prepared, prepare
from gradviz.image.preprocess import Preprocess, preprocess_from
from gradviz.image.read import Picture, read_image
from gradviz.seeds.places import Site, at_box

STORED = {  # orientation: how the camera stored the upright picture [H,W]
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a.T[::-1],
    7: lambda a: a.T[::-1, ::-1],
    8: lambda a: a.T[:, ::-1],
}
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
orientations = st.sampled_from(sorted(STORED))


@st.composite
def recipes(draw: st.DrawFn, image: tuple[int, int]) -> Preprocess:
    resize = draw(st.none() | st.integers(1, 60) | sizes)
    multiple = draw(st.none() | st.integers(1, 16))
    uncropped = preprocess_from({"resize": resize, "multiple": multiple}, "test")
    width, height = frame_of(image, uncropped).resized
    crop = draw(st.none() | st.tuples(st.integers(1, width), st.integers(1, height)))
    kept = crop or (width, height)
    larger = st.tuples(*(st.integers(side, side + 20) for side in kept))
    options = {
        "crop": crop or draw(st.none() | larger),
        "crop_rule": draw(st.sampled_from(["torchvision", "transformers"])),
        "pad_at": draw(st.sampled_from(["end", "around"])),
    }
    recipe = uncropped.model_copy(update=options)
    least = frame_of(image, recipe).input
    padded = st.tuples(*(st.integers(side, side + 9) for side in least))
    pad = draw(st.none() | padded | st.integers(1, 9).map("multiple:{}".format))
    return recipe.model_copy(update={"pad": pad})


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    image = draw(sizes)
    return frame_of(image, draw(recipes(image)))


def through_a_file(folder: Path, upright: Any, orientation: int, recipe: Preprocess) -> Prepared:
    """Store the picture [H,W] as a camera that was held so would; read and prepare the file."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    Image.fromarray(stored).save(folder / "x.png", exif=exif)
    return prepare(read_image(folder / "x.png"), recipe)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frame")


@given(frames())
@settings(deadline=None)
def test_lookup_by_exact_fractions(frame: Frame) -> None:
    """Which input pixel's stretch of the file holds the centre, searched one by one."""
    for axis, indices in enumerate(frame.lookup()):
        assert len(indices) == frame.image[axis]
        pixel = Fraction(frame.image[axis], frame.resized[axis])
        first, end = frame.picture[axis], frame.picture[axis + 2]
        left = (frame.origin[axis] - first) * pixel
        for place, index in enumerate(indices):
            centre = place + Fraction(1, 2)
            holders = [
                i for i in range(first, end) if left + i * pixel <= centre < left + (i + 1) * pixel
            ]
            assert [index] == (holders or [-1])


@given(frames())
@settings(deadline=None)
def test_to_input_and_back(frame: Frame) -> None:
    columns, rows = frame.lookup()
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            if row < 0 or column < 0:
                with pytest.raises(SeedError, match="was cropped away"):
                    frame.to_input(x, y)
                continue
            u, v = frame.to_input(x, y)
            assert (int(u), int(v)) == (column, row)
            assert frame.to_image(u, v) == pytest.approx((x + 0.5, y + 0.5), abs=1e-9)


def test_by_hand() -> None:
    frame = Frame(image=(7, 5), resized=(14, 10), origin=(1, 2), input=(6, 4))
    assert frame.to_input(2, 1) == (4, 1)
    assert frame.to_image(0, 0) == (0.5, 1)
    columns, rows = frame.lookup()
    assert columns.tolist() == [0, 2, 4, -1, -1, -1, -1]
    assert rows.tolist() == [-1, 1, 3, -1, -1]


def test_a_letterbox_by_hand() -> None:
    frame = frame_of((4, 2), preprocess_from({"letterbox": 8}, "test"))
    assert (frame.resized, frame.input, frame.picture) == ((8, 4), (8, 8), (0, 2, 8, 6))
    assert frame.to_input(0, 0) == (1, 3)
    assert frame.to_image(1, 3) == (0.5, 0.5)
    assert frame.to_image(0, 0)[1] < 0
    columns, rows = frame.lookup()
    assert (columns.tolist(), rows.tolist()) == ([1, 3, 5, 7], [3, 5])
    mask = np.array([[1, 0, 0, 0], [0, 0, 0, 1]])
    sampled = frame.in_input(mask, 9)
    assert (sampled[:2] == 9).all() and (sampled[6:] == 9).all()
    np.testing.assert_array_equal(sampled[2:6], mask.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(frame.in_image(sampled, 5), mask)


def test_a_crop_that_is_padded_again_is_not_the_file() -> None:
    frame = frame_of((9, 9), preprocess_from({"crop": 5, "pad": 9, "pad_at": "around"}, "test"))
    assert frame.image == frame.resized == frame.input
    assert not frame.unchanged
    assert frame.in_image(np.ones((9, 9)), 0).sum() == 25
    assert frame.in_input(np.ones((9, 9)), 0).sum() == 25
    with pytest.raises(SeedError, match="x = 1 was cropped away; expected 2 to 6"):
        frame.to_input(1, 4)
    assert frame_of((9, 9), Preprocess()).unchanged


@pytest.mark.parametrize("kind", ["letterbox", "pad", "keep_aspect"])
def test_a_marker_in_the_photo_lies_where_at_looks(kind: str) -> None:
    """The truth is seen in the tensor: the centre of light of what a white pixel changes in it.

    `at` must take the output pixel there, or one beside it, in 1000 random cases.
    """
    draws = np.random.default_rng(sum(map(ord, kind)))
    for _ in range(1000):
        width, height, side = (int(n) for n in draws.integers(8, 120, 3))
        recipe = preprocess_from(_random_recipe(kind, side, draws), "test")
        frame = frame_of((width, height), recipe)
        kept = (np.flatnonzero(places >= 0) for places in frame.lookup())
        # Two pixels off a crop's edge, where it cuts no light off.
        x, y = (int(draws.choice(places[2:-2] if len(places) > 4 else places)) for places in kept)
        photo = np.zeros((1, height, width), np.float32)
        without = prepare(Picture(photo, "picture"), recipe).tensor
        photo[0, y, x] = 1
        light = prepare(Picture(photo, "picture"), recipe).tensor[0].double() - without[0]
        u = (light.sum(0) * (torch.arange(light.shape[1]) + 0.5)).sum() / light.sum()
        v = (light.sum(1) * (torch.arange(light.shape[0]) + 0.5)).sum() / light.sum()
        left, top, right, bottom = at_box(frame.input, Site(frame, ()), x, y)
        assert left - 0.5 <= u <= right + 0.5, (recipe, width, height, x, y)
        assert top - 0.5 <= v <= bottom + 0.5, (recipe, width, height, x, y)


def _random_recipe(kind: str, side: int, draws: np.random.Generator) -> dict[str, object]:
    channels = {"channels": "gray", "interpolation": str(draws.choice(["bilinear", "bicubic"]))}
    if kind == "letterbox":
        return {"letterbox": side, **channels}
    if kind == "keep_aspect":
        return {
            "resize": [side, int(draws.integers(8, 120))],
            "keep_aspect": str(draws.choice(["inside", "cover", "least"])),
            "multiple": int(draws.integers(1, 5)),
            "round": [None, "even", "floor"][draws.integers(3)],
            **channels,
        }
    return {
        "resize": [f"fit:{side}", [side, 50]][draws.integers(2)],
        "crop": [None, [side, side]][draws.integers(2)],
        "crop_rule": str(draws.choice(["torchvision", "transformers"])),
        "pad": [f"multiple:{side}", [120, 130]][draws.integers(2)],
        "pad_at": str(draws.choice(["end", "around"])),
        "pad_value": 200,
        "order": str(draws.choice(["pad,normalise", "normalise,pad"])),
        **channels,
    }


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (10, 0, "x = 10 lies outside the image; expected 0 to 9"),
        (-1, 0, "x = -1 lies outside the image; expected 0 to 9"),
        (4, 8, "y = 8 lies outside the image; expected 0 to 7"),
        (2, 3, "x = 2 was cropped away; expected 3 to 6, or crop less"),
        (4, 6, "y = 6 was cropped away; expected 2 to 5"),
    ],
)
def test_outside(x: int, y: int, reason: str) -> None:
    with pytest.raises(SeedError, match=reason):
        Frame(image=(10, 8), resized=(10, 8), origin=(3, 2), input=(4, 4)).to_input(x, y)


def test_a_crop_between_two_centres() -> None:
    with pytest.raises(SeedError, match="nothing of it is left"):
        Frame(image=(1, 1), resized=(9, 9), origin=(0, 0), input=(2, 2)).to_input(0, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_in_image_draws_in_the_files_pixels(dtype: Any) -> None:
    frame = Frame(image=(4, 3), resized=(8, 3), origin=(2, 1), input=(4, 2))
    array = np.arange(16, dtype=dtype).reshape(2, 2, 4)
    drawn = frame.in_image(array, 99)
    assert drawn.dtype == dtype
    assert drawn[0].tolist() == [[99] * 4, [99, 1, 3, 99], [99, 5, 7, 99]]
    assert drawn[1].tolist() == [[99] * 4, [99, 9, 11, 99], [99, 13, 15, 99]]
    assert frame.in_image(array[0], 99).tolist() == drawn[0].tolist()


@given(data=st.data(), size=sizes, orientation=orientations)
@settings(deadline=None, max_examples=100)
def test_without_a_resize_every_pixel_returns(
    folder: Path, data: st.DataObject, size: tuple[int, int], orientation: int
) -> None:
    """Through file, orientation, crop and back: the picture itself, and nothing around the crop."""
    width, height = size
    crop = data.draw(st.tuples(st.integers(1, width), st.integers(1, height)))
    upright = np.arange(1, width * height + 1, dtype=np.uint16).reshape(height, width)
    prepared = through_a_file(folder, upright, orientation, Preprocess(crop=crop, channels="gray"))
    levels = np.round(prepared.tensor.numpy() * 65535)
    back = prepared.frame.in_image(levels, 0)[0]
    assert back.shape == upright.shape
    assert np.count_nonzero(back) == crop[0] * crop[1]
    np.testing.assert_array_equal(back[back > 0], upright[back > 0])


@given(
    data=st.data(),
    grid=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    factor=st.integers(1, 5),
    larger=st.booleans(),
    orientation=orientations,
)
@settings(deadline=None, max_examples=100)
def test_the_middle_of_a_bright_block_returns(
    folder: Path,
    data: st.DataObject,
    grid: tuple[int, int],
    factor: int,
    larger: bool,
    orientation: int,
) -> None:
    """Where sizes divide, the centre of light of a block is kept exactly.

    Off the border: there the filter is cut, and its weights are no longer even.
    """
    x, y = (data.draw(st.integers(2, cells - 3)) for cells in grid)
    block = 1 if larger else factor
    upright = np.zeros((grid[1] * block, grid[0] * block), np.uint8)
    upright[y * block : (y + 1) * block, x * block : (x + 1) * block] = 255
    scale = factor if larger else 1
    recipe = Preprocess(resize=(grid[0] * scale, grid[1] * scale), channels="gray")
    prepared = through_a_file(folder, upright, orientation, recipe)
    light = prepared.tensor[0].double()
    u = (light.sum(0) * (torch.arange(light.shape[1]) + 0.5)).sum() / light.sum()
    v = (light.sum(1) * (torch.arange(light.shape[0]) + 0.5)).sum() / light.sum()
    expected = ((x + 0.5) * block, (y + 0.5) * block)
    assert prepared.frame.to_image(float(u), float(v)) == pytest.approx(expected, abs=1e-4)


@given(data=st.data(), size=sizes, orientation=orientations)
@settings(deadline=None, max_examples=120)
def test_a_bright_pixel_returns_from_any_recipe(
    folder: Path, data: st.DataObject, size: tuple[int, int], orientation: int
) -> None:
    """The brightest input pixel lies within half its own size, and half a file pixel, of it."""
    recipe = data.draw(recipes(size))
    columns, rows = frame_of(size, recipe).lookup()
    kept_x, kept_y = (np.flatnonzero(places >= 0).tolist() for places in (columns, rows))
    assume(kept_x and kept_y)
    x, y = data.draw(st.sampled_from(kept_x)), data.draw(st.sampled_from(kept_y))
    upright = np.zeros(size[::-1], np.uint8)
    upright[y, x] = 255
    gray = recipe.model_copy(update={"channels": "gray"})
    prepared = through_a_file(folder, upright, orientation, gray)
    v, u = divmod(int(prepared.tensor[0].argmax()), prepared.tensor.shape[2])
    back = prepared.frame.to_image(u + 0.5, v + 0.5)
    for got, marked, axis in zip(back, (x, y), (0, 1), strict=True):
        # The filter is cut at the border of the image, which moves the crest by a 30th at most.
        reach = 0.5 + 0.54 * prepared.frame.image[axis] / prepared.frame.resized[axis]
        assert abs(got - (marked + 0.5)) <= reach
