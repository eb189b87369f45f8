"""Arrays in the page: what is lost, and how it is said."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image

from gradviz.commands.report.page_data import (
    BUDGET,
    STRIP,
    MapSize,
    Packed,
    block_for,
    in_cells,
    kept_planes,
    pack,
    packed_mask,
    packed_picture,
    scales_of,
    side_for,
)
from gradviz.errors import UsageError

Doubles = NDArray[np.float64]


def unpacked(packed: Packed) -> Doubles:
    """What a page reads: number by number, as the documentation of the format says."""
    data = zlib.decompress(base64.b64decode(packed.data))
    count = len(data) // 2
    pairs = zip(data[:count], data[count:], strict=True)
    levels = [struct.unpack(">h", bytes(pair))[0] for pair in pairs]
    numbers = [float("nan") if level == -32768 else level * packed.step for level in levels]
    return np.array(numbers).reshape(packed.shape)


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=3, max_side=6),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    )
)
def test_no_number_is_farther_off_than_the_page_says(planes: NDArray[np.float32]) -> None:
    packed = pack(planes)
    assert np.abs(unpacked(packed) - planes).max() <= packed.error * (1 + 1e-9)
    assert packed.error <= np.abs(planes).max() / 65534 * (1 + 1e-9)


def test_the_largest_and_zero_are_exact() -> None:
    planes = np.array([[[0.0, -3.0, 1.0]]])
    assert unpacked(pack(planes))[0, 0, :2] == pytest.approx([0, -3])
    assert unpacked(pack(np.zeros((2, 1, 3)))).tolist() == [[[0, 0, 0]], [[0, 0, 0]]]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so_and_spoils_nothing(broken: float) -> None:
    planes = np.array([[[broken, 2.0, -1.0]]])
    found = unpacked(pack(planes))[0, 0]
    assert np.isnan(found[0]) and found[1:] == pytest.approx([2, -1], abs=1e-4)


@pytest.mark.parametrize(("height", "width", "block"), [(4, 6, 2), (5, 7, 3), (1, 9, 4), (3, 2, 5)])
def test_a_cell_is_the_mean_of_its_pixels(height: int, width: int, block: int) -> None:
    planes = np.random.default_rng(0).normal(size=(2, height, width))
    found = in_cells(planes, block)
    assert found.shape == (2, -(-height // block), -(-width // block))
    for n, row, column in np.ndindex(found.shape):
        top, left = row * block, column * block
        pixels = planes[n, top : top + block, left : left + block]
        assert found[n, row, column] == pytest.approx(pixels.mean())


def test_a_cell_with_a_broken_pixel_is_broken() -> None:
    planes = np.ones((1, 4, 4))
    planes[0, 1, 1] = np.inf
    planes[0, 0, 0] = -np.inf
    assert np.isnan(in_cells(planes, 2)[0, 0, 0])
    assert np.array_equal(in_cells(planes, 2)[0, 1], [1, 1])


def test_three_channels_are_kept_and_many_are_summed() -> None:
    g = np.array([[[1.0]], [[-2.0]], [[4.0]]], np.float32)
    assert kept_planes(g, 1).ravel().tolist() == [1, -2, 4]
    many = np.concatenate([g, g])
    assert kept_planes(many, 1).ravel().tolist() == [14, 6]
    # In cells the signs of channels would cancel, so magnitudes are summed before.
    wide = np.array([[[1.0, -1.0]]], np.float32)
    assert kept_planes(wide, 2).ravel().tolist() == [1, 0]


def test_scales_are_those_of_the_views() -> None:
    g = np.array([[[1.0, 0.0]], [[-3.0, 0.0]]], np.float32)
    scales = scales_of(g, 1, clip=100)
    assert (scales["heatmap"], scales["signed"]) == (4, 2)
    assert (scales["positive"], scales["negative"], scales["rgb"]) == (0, 2, 3)


@pytest.mark.parametrize("block", [1, 3])
def test_a_huge_gradient_in_strips_is_the_same(block: int) -> None:
    g = np.random.default_rng(0).normal(size=(2, 301, 4)).astype(np.float32)
    assert g.shape[1] > STRIP * block
    whole = in_cells(np.abs(g).sum(0), block)
    assert kept_planes(g, block)[0] == pytest.approx(whole, rel=1e-6)
    assert scales_of(g, block, 100)["heatmap"] == pytest.approx(whole.max(), rel=1e-6)


def test_a_mask_is_read_bit_by_bit() -> None:
    mask = np.random.default_rng(1).random((5, 7)) < 0.5
    data = zlib.decompress(base64.b64decode(packed_mask(mask, 1)))
    bits = "".join(f"{byte:08b}" for byte in data)[: mask.size]
    assert [bit == "1" for bit in bits] == mask.ravel().tolist()


def test_a_cell_of_a_mask_is_true_where_any_of_it_is() -> None:
    mask = np.zeros((4, 4), bool)
    mask[3, 0] = True
    data = zlib.decompress(base64.b64decode(packed_mask(mask, 2)))
    assert f"{data[0]:08b}"[:4] == "0010"


def test_a_picture_stays_itself_nearly() -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    shown = np.stack(np.broadcast_arrays(ramp[None], ramp[:, None], ramp[None, ::-1]), -1)
    kind, data = packed_picture(shown, 1).split(",")
    assert kind == "data:image/jpeg;base64"
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), float)
    assert np.abs(back - shown).mean() < 3
    half = Image.open(io.BytesIO(base64.b64decode(packed_picture(shown[:63], 2).split(",")[1])))
    assert half.size == (32, 32)


def test_few_maps_keep_their_pixels_and_many_lose_some() -> None:
    one: MapSize = ((3, 224, 224), (224, 224))
    assert block_for((224, 224), side_for([one])) == 1
    assert block_for((224, 224), side_for([one] * 1000)) > 1
    assert side_for([]) == side_for([((3, 4, 4), (4, 4))] * 1000) == 1024


def test_a_side_that_is_chosen_fits() -> None:
    for count in (10, 100, 1000, 5000):
        side = side_for([((3, 300, 200), (300, 200))] * count)
        block = block_for((300, 200), side)
        planes = 3 if block == 1 else 2
        cells = -(-300 // block) * -(-200 // block)
        assert count * planes * cells * 2 * 4 / 3 < BUDGET


def test_too_many_maps_are_refused() -> None:
    with pytest.raises(UsageError, match=r"20000 maps would have \d+ MB .*64 MB.*fewer"):
        side_for([((3, 224, 224), (224, 224))] * 20000)
