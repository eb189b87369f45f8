"""Measured geometry against published numbers and against arithmetic."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz
from gradviz.errors import ModelError
from gradviz.field import geometry as measured
from gradviz.field.probe import Probe
from gradviz.field.reach.extents import NotRun, Untold
from gradviz.model.model import Model
from tests.helpers.geometry import geometry
from tests.helpers.nets import Net


@given(
    layers=st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3)),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=25, deadline=None, derandomize=True)  # some stacks are too long to measure
def test_plain_stacks_follow_the_recurrence(layers: list[tuple[int, int, int, int]]) -> None:
    """size += (k − 1)·d·jump, start += padding·jump, jump *= stride (Araujo et al. 2019)."""
    size, jump, start = 1, 1, 0
    modules: list[nn.Module] = []
    for n, (kernel, stride, padding, dilation) in enumerate(layers):
        modules.append(nn.Conv2d(3 if n == 0 else 1, 1, kernel, stride, padding, dilation))
        size += (kernel - 1) * dilation * jump
        start += padding * jump
        jump *= stride
    (found,) = geometry(nn.Sequential(*modules))
    assert found.x is not None
    assert (found.x.size, found.x.stride, found.x.padding) == (size, Fraction(jump), start)
    assert found.x.centre == -start + size / 2
    left, right = found.x.halo
    assert left == max(0, start) and right == max(0, size - start - jump)


@pytest.mark.parametrize(
    ("factor", "mode", "size", "stride"),
    [
        # Three neighbours of a map repeated twice (or four times) stem from two pixels.
        (2.0, "nearest", 2, Fraction(1, 2)),
        (4.0, "nearest", 2, Fraction(1, 4)),
        # Each bilinear value stems from two pixels, neighbours from the same or the next two.
        (2.0, "bilinear", 3, Fraction(1, 2)),
        (1.5, "nearest", 3, Fraction(2, 3)),
    ],
)
def test_strides_after_upsampling_are_rational(
    factor: float, mode: str, size: int, stride: Fraction
) -> None:
    resize = nn.Upsample(scale_factor=factor, mode=mode)
    (found,) = geometry(nn.Sequential(resize, nn.Conv2d(3, 1, 3, padding=1)))
    assert found.x is not None and found.y is not None
    assert (found.x.size, found.x.stride) == (found.y.size, found.y.stride) == (size, stride)


def test_circular_padding_is_measured_in_the_middle() -> None:
    module = nn.Conv2d(3, 1, 5, padding=2, padding_mode="circular")
    (found,) = geometry(module)
    assert found.x is not None and (found.x.size, found.x.halo) == (5, (2, 2))


def test_both_axes_are_measured() -> None:
    (found,) = geometry(nn.Conv2d(3, 1, (5, 3), stride=(2, 1), padding=(1, 0)))
    assert found.as_dict() == {
        "size": [3, 5],
        "stride": [1, 2],
        "padding": [0, 1],
        "centre": [1.5, 1.5],
        "halo": [0, 1, 2, 2],
        "period": [1, 2],
        "global_through": None,
    }


def test_the_extent_of_any_output_pixel() -> None:
    """Against a direct look, on another input size than the geometry was measured at."""
    module = nn.Sequential(
        nn.Conv2d(3, 2, 3, 2, 1), nn.Conv2d(2, 2, 3, padding=1), nn.Upsample(scale_factor=2)
    )
    (found,) = geometry(module)
    assert found.x is not None
    probe = Probe(gradviz.wrap(module), torch.rand(3, 40, 40))
    for i in range(40):
        box = probe.structural(i, 20).box
        first, last = found.x.extent(i)
        assert box is not None and (box[0], box[2]) == (max(0, first), min(39, last) + 1)


def attention() -> nn.Module:
    def forward(x: Tensor, patches: nn.Module, attention: nn.Module) -> Tensor:
        a = patches(x)
        tokens = a.flatten(2).transpose(1, 2)
        mixed: Tensor = attention(tokens, tokens, tokens)[0]
        return mixed.transpose(1, 2).reshape(a.shape)

    heads = nn.MultiheadAttention(4, 2, batch_first=True)
    return Net(forward, patches=nn.Conv2d(3, 4, 4, 4), attention=heads)


@pytest.mark.parametrize(
    ("module", "through"),
    [
        (
            Net(
                lambda x, conv: conv(x) * conv(x).mean((2, 3), keepdim=True).sigmoid(),
                conv=nn.Conv2d(3, 2, 3, padding=1),
            ),
            "Mean",
        ),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.InstanceNorm2d(2)), "NativeBatchNorm"),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.GroupNorm(1, 2)), "NativeGroupNorm"),
        (attention(), "attention"),
    ],
)
def test_global_fields_are_called_so(module: nn.Module, through: str) -> None:
    (found,) = geometry(module.eval())
    assert found.x is None and found.y is None
    assert found.through is not None and through in found.through
    assert found.as_dict()["size"] is None


def test_a_model_of_one_size_is_measured_at_it() -> None:
    def one_size(x: Tensor) -> Tensor:
        if x.shape[2:] != (48, 48):
            raise ValueError("48 pixels, please")
        return F.avg_pool2d(x, 3, 1, 1)

    with pytest.raises(ModelError, match="48 pixels, please"):
        geometry(Net(one_size))
    (found,) = geometry(Net(one_size), fixed=(48, 48))
    assert found.x is not None and found.x.size == 3


def test_a_model_that_takes_squares_only() -> None:
    def large_squares(x: Tensor) -> Tensor:
        if x.shape[2] != x.shape[3] or x.shape[2] < 200:
            raise ValueError("larger squares, please")
        return F.avg_pool2d(x, 3, 1, 1)

    (found,) = geometry(Net(large_squares))
    assert found.x is not None and found.y is not None and found.x.size == found.y.size == 3


def test_a_long_period() -> None:
    """Every pixel looks at its window of 8×8 pixels."""
    windows = Net(lambda x: x + F.interpolate(F.avg_pool2d(x, 8), scale_factor=8.0))
    (found,) = geometry(windows)
    assert found.x is not None
    assert found.x.shift == len(found.x.first) == 8
    assert (found.x.size, found.x.padding, found.x.halo) == (8, 7, (7, 7))
    assert found.x.centre == 0.5


def test_an_axis_may_be_global_alone() -> None:
    """Global in x, three pixels in y."""
    conv = nn.Conv2d(3, 1, 3, padding=1)
    (found,) = geometry(Net(lambda x, conv: conv(x) * conv(x).mean(3, keepdim=True), conv=conv))
    described = found.as_dict()
    assert described["size"] == [None, 3] and described["halo"] == [None, 1, None, 1]
    assert described["global_through"] is not None


def test_what_covers_a_small_input_need_not_be_global() -> None:
    """A resize that is bounded on a larger input."""

    def resampled(x: Tensor) -> Tensor:
        return F.interpolate(F.interpolate(x, scale_factor=1 / 32, mode="area"), scale_factor=32.0)

    (found,) = geometry(Net(resampled))
    assert found.x is not None and found.x.size == 32 and found.through is None


@pytest.mark.parametrize(
    "net, size",
    [
        (nn.Conv2d(3, 2, 3, padding=40, dilation=40), 81),
        (nn.Conv2d(3, 2, 3, padding=300, dilation=300), 601),
        (nn.MaxPool2d(3, 1, 1, dilation=30), 61),
        (
            nn.Sequential(
                *(nn.Conv2d(c, 2, 3, 2, 1) for c in (3, 2, 2)),
                nn.Conv2d(2, 2, 3, padding=36, dilation=36),
            ),
            15 + 8 * 72,
        ),
    ],
)
def test_elements_set_far_apart_are_not_lost_in_the_padding(net: nn.Module, size: int) -> None:
    """On a small input they would all lie in the padding, and leave no trace."""
    geometry = gradviz.receptive_field(net).geometry
    assert geometry.as_dict()["size"] == [size, size]


def test_what_never_repeats_has_no_geometry() -> None:
    """An irrational stride: no two output pixels lie alike."""
    net = Net(lambda x: F.interpolate(x, scale_factor=2**-0.5, recompute_scale_factor=False))
    (found,) = geometry(net)
    assert found.x is None and found.y is None and found.through is None


def test_a_square_is_tried_only_if_the_model_takes_no_strip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is not known of a strip is not known of a square either, which costs far more."""
    asked: list[tuple[int, int]] = []

    def follow(failure: type[Untold], model: Model, channels: int, size: tuple[int, int]) -> None:
        asked.append(size)
        raise failure

    for failure, squares in ((Untold, False), (NotRun, True)):
        asked.clear()
        monkeypatch.setattr(measured, "follow", partial(follow, failure))
        assert measured.bounded_axis(gradviz.wrap(nn.Conv2d(3, 1, 3)), 3, 0) is None
        assert any(width == height for width, height in asked) == squares
        assert (measured.LONG[0], 64) in asked
