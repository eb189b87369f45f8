"""Packed answers, read back byte by byte."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest

from gradviz.commands.explore.packing import LARGEST, PackedAnswer, Plane, in_halves, unpacked


def test_the_layout_is_a_length_a_header_and_little_endian_halves() -> None:
    values = np.array([[[1.0, -2.0]]], np.float32)
    body = PackedAnswer({"number": 7}, [Plane("gradient", values, (9, 8), (3, 4, 5, 5))]).body()
    (length,) = struct.unpack("<I", body[:4])
    header = json.loads(body[4 : 4 + length])
    assert (4 + length) % 8 == 0
    assert header["number"] == 7
    (described,) = header["arrays"]
    assert described["shape"] == [1, 1, 2]
    assert described["size"] == [9, 8]
    assert described["window"] == [3, 4, 5, 5]
    halves = struct.unpack("<2e", body[4 + length + described["offset"] :])
    assert [half * described["scale"] for half in halves] == [1.0, -2.0]


def test_several_arrays_follow_each_other() -> None:
    planes = [
        Plane(name, np.full((1, 1, n), n, np.float32), (n, 1), (0, 0, n, 1))
        for n, name in enumerate("abc", 1)
    ]
    _, found = unpacked(PackedAnswer({}, planes).body())
    assert {name: each.tolist() for name, each in found.items()} == {
        "a": [[[1]]],
        "b": [[[2, 2]]],
        "c": [[[3, 3, 3]]],
    }


@pytest.mark.parametrize("factor", [1e-30, 1e-9, 1.0, 1e30])
def test_numbers_keep_three_digits_whatever_their_size(factor: float) -> None:
    values = factor * np.random.default_rng(0).lognormal(0, 2, (3, 5, 7)).astype(np.float32)
    halves, scale = in_halves(values)
    got = halves.astype(np.float64) * scale
    assert np.abs(got - values).max() <= 2.0**-11 * values.max()
    large = values > 1e-4 * values.max()
    assert (np.abs(got - values)[large] <= 2.0**-11 * values[large]).all()


def test_numbers_that_are_none_stay_so() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.5, -0.25], np.float32)
    halves, scale = in_halves(values)
    got = halves.astype(np.float64) * scale
    assert math.isnan(got[0])
    assert got[1:].tolist() == [math.inf, -math.inf, 0.5, -0.25]
    assert halves[3] == LARGEST


def test_an_empty_or_blank_array_has_a_scale() -> None:
    for values in (np.zeros((1, 2, 2), np.float32), np.zeros((1, 0, 2), np.float32)):
        halves, scale = in_halves(values)
        assert scale == 1
        assert not halves.any()
