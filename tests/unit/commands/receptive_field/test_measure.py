"""Fields of known networks: their pixels and middles, and the mean over samples and images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradviz.commands.receptive_field.mean import RunningMean
from gradviz.commands.receptive_field.measure import (
    Field,
    FieldMeter,
    FieldSettings,
    choose_size,
)
from gradviz.errors import ModelError
from gradviz.field.axis import Axis
from gradviz.field.geometry import Geometry
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.model.load import wrap
from gradviz.model.random_input import RandomInput
from tests.helpers.nets import Net


def field(image: str, local: list[int], energy: list[float], contribution: list[float]) -> Field:
    structural: Any = None
    return Field(
        image=image,
        pixel=(0, 0),
        asked="pixel 0,0",
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
    found = RunningMean.of(field("b", [1], [1], [0]), first).field()
    assert found.energy.tolist() == [[1, 2]] and found.contribution.tolist() == [[0, 1]]
    assert found.notes == ("of another size than a, and left out: b",)


def meter(net: nn.Module, **settings: Any) -> FieldMeter:
    return FieldMeter(wrap(net), Preprocess(), FieldSettings(**settings))


def image(width: int, height: int) -> LoadedImage:
    pixels = np.random.default_rng(0).random((3, height, width), np.float32)
    return LoadedImage("x.png", prepare(Picture(pixels, "array"), Preprocess()))


POOL = Net(lambda x: F.avg_pool2d(x, (2, 3)))
"""Each output pixel is the mean of three columns and two rows."""


def test_an_output_pixel_covers_its_share_of_the_input() -> None:
    (found,) = meter(POOL, pixels=((1, 2),)).at_image(image(12, 8))
    assert found.footprint == (3, 4, 6, 6)
    rows, columns = np.nonzero(found.local)
    assert (set(rows.tolist()), set(columns.tolist())) == ({4, 5}, {3, 4, 5})


@pytest.mark.parametrize("size, pixel", [((12, 8), (2, 2)), ((15, 14), (2, 3))])
def test_the_pixel_in_the_middle_is_the_default(
    size: tuple[int, int], pixel: tuple[int, int]
) -> None:
    (found,) = meter(POOL).at_image(image(*size))
    assert found.pixel == pixel


def test_sizes_are_measured_about_the_middle_of_the_field() -> None:
    """Nine equal pixels fill a square of 3 about their middle, wherever the output pixel lies."""
    net = nn.Conv2d(3, 1, 3, bias=False)
    nn.init.ones_(net.weight)
    measured = meter(net, pixels=((2, 5),))
    (geometry,) = measured.geometries([None])
    (found,) = measured.at_image(image(12, 9))
    sizes = found.statistics(geometry)
    assert sizes.squares == {"20": 3, "30": 3, "50": 3, "99": 3}
    assert sizes.mean == pytest.approx((2 + 1.5, 5 + 1.5))
    assert sizes.sigma == pytest.approx(((8 / 12) ** 0.5,) * 2)


def test_sizes_of_a_global_field_are_measured_about_the_output_pixel() -> None:
    """All of the image counts a little along x; what the pixel covers counts most."""
    net = Net(lambda x: F.avg_pool2d(x + 1e-6 * x.mean(3, keepdim=True), (1, 3)))
    for pixel in ((0, 0), (3, 5)):
        measured = meter(net, pixels=(pixel,))
        (geometry,) = measured.geometries([None])
        assert geometry.x is None and geometry.y is not None
        (found,) = measured.at_image(image(12, 8))
        assert found.statistics(geometry).squares == {"20": 1, "30": 1, "50": 3, "99": 3}


def test_the_effective_field_at_noise_is_the_mean_over_the_samples() -> None:
    """Of x³ at one pixel: 3x² there, for every sample; autograd is asked one by one."""
    net = Net(lambda x: (x - 0.5) ** 3)
    measured = meter(net, pixels=((4, 3),), samples=3, random_seed=7)
    (geometry,) = measured.geometries([None])
    (found,) = measured.at_noise(geometry)
    height, width = found.energy.shape
    random = RandomInput.of(measured.model, Preprocess(), 7)
    samples = [random.draw((width, height)) for _ in range(3)]
    slopes = [3 * (sample.tensor[:, 3, 4].double() - 0.5) ** 2 for sample in samples]
    expected = torch.stack(slopes).mean(0).sum()
    assert found.energy[3, 4] == pytest.approx(float(expected), rel=1e-5)
    assert found.energy.sum() == found.energy[3, 4]
    assert found.contribution[3, 4] == pytest.approx(float(expected), rel=1e-5)
    assert np.array_equal(found.shown, samples[0].shown)


def test_fields_of_other_samples_are_other_ones() -> None:
    net = Net(lambda x: x.square())
    choices: list[dict[str, int]] = [{}, {"random_seed": 0}, {"random_seed": 1}]
    fields: list[Field] = []
    for choice in choices:
        measured = meter(net, samples=1, **choice)
        (geometry,) = measured.geometries([None])
        fields += measured.at_noise(geometry)
    assert np.array_equal(fields[0].energy, fields[1].energy)
    assert not np.array_equal(fields[0].energy, fields[2].energy)


def test_random_input_has_the_size_that_is_asked_for() -> None:
    measured = meter(nn.Conv2d(3, 1, 3), input_size=(40, 30))
    (geometry,) = measured.geometries([None])
    (found,) = measured.at_noise(geometry)
    assert found.energy.shape == (30, 40) and found.pixel == (19, 14)


@pytest.mark.parametrize("kernel", [1, 31, 61, 62, 63, 64, 127, 200])
def test_a_field_in_the_middle_of_the_chosen_size_is_free_of_the_border(kernel: int) -> None:
    net = nn.Conv2d(3, 1, kernel, padding=kernel // 2, bias=False)
    measured = meter(net)
    (geometry,) = measured.geometries([None])
    width, height = choose_size(measured.probe_at, geometry)
    probe = measured.probe_at((width, height))
    box = probe.structural(probe.size[0] // 2, probe.size[1] // 2).box
    assert box is not None and box[2] - box[0] == box[3] - box[1] == kernel
    assert min(box) > 0 and box[2] < width and box[3] < height


def test_the_chosen_size_is_the_first_that_the_model_takes() -> None:
    """Squares at least as large come first, then smaller ones; what fits none is tried last."""
    tried: list[tuple[int, int]] = []

    def takes(*sizes: tuple[int, int]) -> Any:
        tried.clear()

        def probe_at(size: tuple[int, int]) -> Any:
            tried.append(size)
            if size not in sizes:
                raise ModelError("another size, please")

        return probe_at

    (tall,) = meter(nn.Conv2d(3, 1, (150, 3))).geometries([None])
    assert choose_size(takes((64, 224)), tall) == (64, 224)
    assert choose_size(takes((128, 128), (256, 256)), tall) == (256, 256)
    assert tried == [(64, 224), (224, 224), (256, 256)]
    assert choose_size(takes((128, 128)), tall) == (128, 128)
    assert choose_size(takes(), tall) == (64, 224)
    assert len(tried) == len(set(tried)) == 8
    huge = Axis((0,), (2999,), 1)
    assert choose_size(takes(), Geometry(huge, huge, None)) == (2048, 2048)
    (everywhere,) = meter(Net(lambda x: x + x.mean((2, 3), keepdim=True))).geometries([None])
    assert choose_size(takes((224, 224)), everywhere) == (224, 224)
