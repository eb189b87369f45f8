"""The mean field over several images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradviz.commands.receptive_field.measure import Field, RunningMean


def field(image: str, local: list[int], energy: list[float], contribution: list[float]) -> Field:
    structural: Any = None
    return Field(
        image=image,
        pixel=(0, 0),
        structural=structural,
        local=np.array([local], bool),
        energy=np.array([energy], float),
        contribution=np.array([contribution], float),
        footprint=(0, 0, 1, 1),
        shown=np.zeros((1, len(local), 3), np.uint8),
    )


def test_local_fields_are_united_and_the_others_averaged() -> None:
    fields = [
        field("a", [1, 0, 0, 1], [1, 2, 3, 4], [0, 1, 0, 0]),
        field("b", [0, 1, 0, 1], [3, 2, 1, 1], [0, 1, 2, 0]),
        field("c", [0, 0, 0, 1], [2, 2, 2, 1], [3, 1, 1, 0]),
    ]
    mean = None
    for each in fields:
        mean = RunningMean.of(each, mean)
    assert mean is not None and mean.count == 3
    found = mean.field()
    assert (found.image, found.pixel) == ("mean", (0, 0))
    assert found.local.tolist() == [[True, True, False, True]]
    assert found.energy == pytest.approx(np.array([[2, 2, 2, 2]]))
    assert found.contribution == pytest.approx(np.array([[1, 1, 1, 0]]))


def test_an_image_of_another_size_is_left_out() -> None:
    first = RunningMean.of(field("a", [1, 0], [1, 2], [0, 1]), None)
    assert RunningMean.of(field("b", [1], [1], [0]), first) is first
