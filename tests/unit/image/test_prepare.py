"""From pictures to tensors, against Pillow and against numbers worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate

from gradviz.errors import ImageError, UsageError
from gradviz.image.frame import frame_of
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import IMAGENET, Preprocess, preprocess_from
from gradviz.image.read import Picture

BYTES = np.random.default_rng(0).integers(0, 256, (3, 30, 41), dtype=np.uint8)
COLOUR = Picture(BYTES.astype(np.float32) / np.float32(255), "picture")
GRAY = Picture(COLOUR.pixels[:1], "picture")


def recipe(**options: Any) -> Preprocess:
    return preprocess_from(options, "test")


def test_nothing_asked_nothing_changed() -> None:
    prepared = prepare(COLOUR, recipe())
    assert torch.equal(prepared.tensor, torch.from_numpy(COLOUR.pixels))
    np.testing.assert_array_equal(prepared.shown, BYTES.transpose(1, 2, 0))
    assert prepared.frame.image == prepared.frame.input == (41, 30)


def test_the_tensor_is_contiguous() -> None:
    channels_last = np.ascontiguousarray(COLOUR.pixels.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert prepare(Picture(channels_last, "array"), recipe()).tensor.is_contiguous()


def test_the_tensor_is_a_copy() -> None:
    picture = Picture(COLOUR.pixels.copy(), "picture")
    prepare(picture, recipe()).tensor.zero_()
    np.testing.assert_array_equal(picture.pixels, COLOUR.pixels)


@pytest.mark.parametrize("size", [(20, 15), (41, 7), (82, 60), (100, 11), (1, 1), (13, 90)])
@pytest.mark.parametrize("kind", ["picture", "array"])
def test_resize_is_torchs_bilinear_filter(size: tuple[int, int], kind: Any) -> None:
    pixels = COLOUR.pixels * 3 - 1
    got = prepare(Picture(pixels, kind), recipe(resize=size)).tensor
    exact = torch.from_numpy(pixels)[None].double()
    expected = interpolate(exact, size=size[::-1], mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(20, 15), (41, 7), (82, 60), (100, 11), (1, 1), (13, 90)])
def test_bytes_are_resized_as_pillow_resizes_a_photo(size: Any, interpolation: str) -> None:
    photo = Image.fromarray(BYTES.transpose(1, 2, 0))
    expected = np.asarray(photo.resize(size, Image.Resampling[interpolation.upper()]))
    for pixels in (Picture(BYTES, "picture", white=255), COLOUR):
        got = prepare(pixels, recipe(resize=size, levels="bytes", interpolation=interpolation))
        np.testing.assert_array_equal(got.tensor, expected.transpose(2, 0, 1) / np.float32(255))
        np.testing.assert_array_equal(got.shown, expected)


@pytest.mark.parametrize("size", [(20, 15), (82, 60), (13, 90)])
def test_bicubic_in_float_is_torchs_and_is_not_clipped(size: tuple[int, int]) -> None:
    got = prepare(COLOUR, recipe(resize=size, interpolation="bicubic")).tensor
    exact = torch.from_numpy(COLOUR.pixels)[None].double()
    expected = interpolate(exact, size=size[::-1], mode="bicubic", antialias=True)[0]
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-6)
    assert size[0] < 41 or got.max() > 1


@pytest.mark.parametrize(("interpolation", "apart"), [("nearest", 0), ("lanczos", 1.5)])
def test_the_other_filters_in_float(interpolation: str, apart: float) -> None:
    """Bytes are rounded after the rows and after the columns; floats never are."""
    faint = Picture(BYTES // 2 + 64, "picture", white=255)  # so that nothing is clipped
    options = {"resize": (20, 15), "interpolation": interpolation}
    exact = prepare(faint, recipe(**options)).tensor * 255
    rounded = prepare(faint, recipe(levels="bytes", **options)).tensor * 255
    assert apart / 4 <= (exact - rounded).abs().max() <= apart + 1e-4


def test_gray_bytes_are_pillows() -> None:
    got = prepare(COLOUR, recipe(channels="gray", levels="bytes", resize=(20, 15)))
    gray = Image.fromarray(BYTES.transpose(1, 2, 0)).convert("L")
    expected = np.asarray(gray.resize((20, 15), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(got.tensor[0], expected / np.float32(255))


def test_an_array_is_not_rounded_to_bytes() -> None:
    got = prepare(Picture(COLOUR.pixels * 3 - 1, "array"), recipe(levels="bytes", resize=(20, 15)))
    exact = prepare(Picture(COLOUR.pixels * 3 - 1, "array"), recipe(resize=(20, 15)))
    assert torch.equal(got.tensor, exact.tensor)


@pytest.mark.parametrize(
    ("options", "place", "size"),
    [
        ({"pad": "50x33"}, (0, 0), (50, 33)),
        ({"pad": "50x33", "pad_at": "around"}, (4, 1), (50, 33)),  # the odd pixel comes last
        ({"pad": "multiple:16"}, (0, 0), (48, 32)),
        ({"pad": 60, "crop": 20, "pad_at": "around"}, (20, 20), (60, 60)),
        ({"crop": "45x20", "crop_rule": "torchvision"}, (2, 0), (45, 20)),
        ({"crop": "44x33", "crop_rule": "transformers"}, (2, 2), (44, 33)),
        ({"crop": "44x33", "crop_rule": "torchvision", "pad": 50}, (1, 1), (50, 50)),
    ],
)
@pytest.mark.parametrize("white", [1, 255])
def test_padding(options: Any, place: tuple[int, int], size: tuple[int, int], white: int) -> None:
    picture = COLOUR if white == 1 else Picture(BYTES, "picture", white=255)
    whole = recipe(**options, pad_value="51,102.5,0", mean=[0.5, 0.25, 0], std=[0.5, 1, 2])
    prepared = prepare(picture, whole)
    left, top, right, bottom = prepared.frame.picture
    assert ((left, top), prepared.frame.input) == (place, size)
    inner = prepared.tensor[:, top:bottom, left:right]
    crop = options.get("crop")
    middle = COLOUR.pixels
    if crop is not None:
        middle = prepare(COLOUR, recipe(crop=(right - left, bottom - top))).tensor.numpy()
    mean, std = np.array([0.5, 0.25, 0]), np.array([0.5, 1, 2])
    expected = (middle - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(inner, expected, atol=1e-6)
    outside = prepared.tensor.clone()
    fill = torch.tensor((np.array([51, 102.5, 0]) / 255 - mean) / std).float()[:, None, None]
    outside[:, top:bottom, left:right] = fill
    torch.testing.assert_close(outside, fill.expand_as(outside), rtol=0, atol=1e-6)


def test_padding_after_normalisation_is_the_number_itself() -> None:
    options = {"mean": 0.5, "std": 0.25, "channels": "gray", "pad_value": -7.5}
    before = prepare(GRAY, recipe(pad=50, **options)).tensor
    prepared = prepare(GRAY, recipe(pad=50, order="normalise,pad", **options))
    assert torch.equal(prepared.tensor[:, :30, :41], before[:, :30, :41])
    assert (prepared.tensor[:, 30:] == -7.5).all() and (prepared.tensor[:, :, 41:] == -7.5).all()
    for box in [(0, 0, 50, 50), (35, 20, 48, 34), (42, 0, 50, 9), (3, 4, 5, 6)]:
        x0, y0, x1, y1 = box
        assert torch.equal(prepared.part(box), prepared.tensor[:, y0:y1, x0:x1])
    assert not prepared.shown[30:].any()


@pytest.mark.parametrize(
    ("image", "options", "resized"),
    [
        ((500, 375), {"resize": 256}, (341, 256)),
        ((375, 500), {"resize": 256}, (256, 341)),
        ((3, 2), {"resize": 3}, (4, 3)),  # 4.5 is cut
        ((640, 427), {"resize": 256}, (383, 256)),
        ((10, 10), {"resize": 7}, (7, 7)),
        ((1, 1000), {"resize": 2}, (2, 2000)),
        ((41, 30), {"resize": "20x9"}, (20, 9)),
        ((41, 30), {"multiple": 8}, (40, 32)),
        ((44, 3), {"multiple": 8}, (48, 8)),
        ((500, 375), {"resize": 256, "multiple": 32}, (352, 256)),
        ((500, 375), {"resize": "100x90", "multiple": 64}, (128, 64)),
    ],
)
def test_sizes(image: tuple[int, int], options: Any, resized: tuple[int, int]) -> None:
    frame = frame_of(image, recipe(**options))
    assert (frame.image, frame.resized, frame.origin) == (image, resized, (0, 0))
    assert frame.input == resized


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)), st.integers(1, 600), st.integers(1, 64)
)
@settings(deadline=None)
def test_sizes_are_the_nearest(image: tuple[int, int], shorter: int, step: int) -> None:
    def nearest(value: Fraction) -> int:
        return floor(value + Fraction(1, 2))

    unlimited = 10**12
    kept = frame_of(image, recipe(resize=shorter, max_pixels=unlimited)).resized
    assert min(kept) == shorter
    assert max(kept) == floor(Fraction(max(image) * shorter, min(image)))
    stepped = frame_of(image, recipe(multiple=step, max_pixels=unlimited)).resized
    assert stepped == tuple(step * max(1, nearest(Fraction(side, step))) for side in image)


@pytest.mark.parametrize(
    ("crop", "box"),
    [
        (10, (16, 10, 26, 20)),
        ("5x28", (18, 1, 23, 29)),
        ("41x30", (0, 0, 41, 30)),
        ("40x29", (0, 0, 40, 29)),
    ],
)
def test_crop_is_in_the_centre(crop: Any, box: tuple[int, int, int, int]) -> None:
    prepared = prepare(COLOUR, recipe(crop=crop))
    left, top, right, bottom = box
    expected = COLOUR.pixels[:, top:bottom, left:right]
    np.testing.assert_array_equal(prepared.tensor, expected)
    np.testing.assert_array_equal(
        prepared.shown, BYTES[:, top:bottom, left:right].transpose(1, 2, 0)
    )
    assert (prepared.frame.origin, prepared.frame.input) == ((left, top), expected.shape[:0:-1])
    assert prepared.tensor.is_contiguous()


def test_imagenet() -> None:
    picture = Picture(np.full((3, 375, 500), 0.5, np.float32), "picture")
    tensor = prepare(picture, IMAGENET).tensor
    assert tensor.shape == (3, 224, 224)
    expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    torch.testing.assert_close(tensor[:, 100, 100], torch.tensor(expected), rtol=0, atol=1e-5)


def test_range_comes_before_mean_and_std() -> None:
    picture = Picture(np.array([[[0, 0.5, 1]]], np.float32), "picture")
    options = {"channels": "gray", "range": "0,255", "mean": "55", "std": "100"}
    assert prepare(picture, recipe(**options)).tensor.tolist()[0][0] == pytest.approx(
        [-0.55, 0.725, 2]
    )
    assert prepare(picture, recipe(range="-1,1")).tensor[0].tolist() == [[-1, 0, 1]]


def test_bgr_has_its_mean_in_its_own_order() -> None:
    picture = Picture(np.array([0.1, 0.2, 0.3], np.float32).reshape(3, 1, 1), "picture")
    prepared = prepare(picture, recipe(channels="bgr", mean="0.3,0.2,0.0"))
    torch.testing.assert_close(prepared.tensor.ravel(), torch.tensor([0, 0, 0.1]))
    assert prepared.shown.tolist() == [[[26, 51, 76]]]


def test_gray_of_colour_is_pillows_luma() -> None:
    prepared = prepare(COLOUR, recipe(channels="gray"))
    reference = np.asarray(Image.fromarray(BYTES.transpose(1, 2, 0)).convert("L"))
    assert prepared.tensor.shape == (1, 30, 41)
    np.testing.assert_allclose(prepared.tensor[0] * 255, reference, atol=0.501)
    assert (prepared.shown == prepared.shown[..., :1]).all()
    np.testing.assert_allclose(prepared.shown[..., 0].astype(int), reference, atol=1)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_gray_becomes_three_equal_channels(channels: str) -> None:
    tensor = prepare(GRAY, recipe(channels=channels)).tensor
    for plane in tensor:
        assert torch.equal(plane, torch.from_numpy(GRAY.pixels[0]))


def test_gray_stays_gray() -> None:
    tensor = prepare(GRAY, recipe(channels="gray")).tensor
    assert torch.equal(tensor, torch.from_numpy(GRAY.pixels))


def test_other_channel_counts_keep_theirs() -> None:
    pixels = np.stack([np.full((2, 2), -5), [[0, 1], [2, 4]], np.zeros((2, 2)), np.ones((2, 2))])
    prepared = prepare(Picture(pixels.astype(np.float32), "array"), recipe())
    np.testing.assert_array_equal(prepared.tensor, pixels)
    assert prepared.shown[..., 0].tolist() == [[0, 64], [128, 255]]
    with pytest.raises(
        UsageError, match="channels gray: expected an image of 1 or 3 channels, got 4"
    ):
        prepare(Picture(pixels.astype(np.float32), "array"), recipe(channels="gray"))


def test_a_constant_of_many_channels_is_shown_black() -> None:
    prepared = prepare(Picture(np.full((5, 2, 2), 7, np.float32), "array"), recipe())
    assert not prepared.shown.any()


def test_what_is_shown_is_clipped() -> None:
    prepared = prepare(Picture(np.array([[[-1, 0.2, 9]]], np.float32), "array"), recipe())
    assert prepared.shown[0, :, 0].tolist() == [0, 51, 255]


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"crop": 31}, ImageError, "crop 31x31 does not fit in the image, which is 41x30"),
        ({"resize": 20, "crop": "28x1"}, ImageError, "which is 27x20 after the resize"),
        (
            {"resize": 4000},
            ImageError,
            "41x30 would be resized to 5466x4000, expected at most 9999",
        ),
        ({"mean": "0.5"}, UsageError, "mean has length 1, expected 3, one number per channel"),
        ({"channels": "gray", "std": "1,1,1"}, UsageError, "std has length 3, expected 1"),
        ({"pad_value": "1,2"}, UsageError, "pad_value has length 2, expected 1 or 3"),
        ({"pad": 40}, ImageError, "pad 40x40 is less than the image, which is 41x30"),
    ],
)
def test_a_recipe_that_does_not_fit(options: Any, kind: type[Exception], reason: str) -> None:
    picture = Picture(COLOUR.pixels, "picture", Path("photo.png"))
    with pytest.raises(kind, match=rf"^photo\.png: .*{reason}") as caught:
        prepare(picture, recipe(max_pixels=9999, **options))
    assert type(caught.value) is kind


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_an_array_keeps_its_channels(count: int) -> None:
    pixels = np.random.default_rng(count).random((count, 4, 5), np.float32)
    kept = prepare(Picture(pixels, "array"), recipe())
    np.testing.assert_array_equal(kept.tensor, pixels)
    assert kept.shown.shape == (4, 5, 3)


def test_an_array_of_three_channels_follows_bgr_and_gray() -> None:
    pixels = np.random.default_rng(0).random((3, 4, 5), np.float32)
    flipped = prepare(Picture(pixels, "array"), recipe(channels="bgr"))
    np.testing.assert_array_equal(flipped.tensor, pixels[::-1])
    gray = prepare(Picture(pixels, "array"), recipe(channels="gray"))
    expected = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
    np.testing.assert_allclose(gray.tensor[0], expected, rtol=1e-6)
