"""The places of `at:X,Y`: the middles of output pixels along both axes."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from gradviz.field.axis import Axis
from gradviz.field.sites import BY_PROPORTION, notes_on, site_of
from gradviz.image.prepare import Prepared, prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.model.load import wrap
from gradviz.seeds.seed import parse_seed
from tests.helpers.nets import Net


def image(width: int, height: int) -> Prepared:
    return prepare(Picture(np.ones((3, height, width), np.float32), "array"), Preprocess())


@pytest.mark.parametrize("known", [False, True])
def test_the_middles_of_a_convolution_are_those_of_its_windows(known: bool) -> None:
    """A window of k that begins at s·i − p has its middle at s·i − p + k / 2."""
    net = nn.Conv2d(3, 1, kernel_size=(5, 4), stride=(3, 2), padding=(0, 1))
    axes = [Axis((-1,), (2,), 2), Axis((0,), (4,), 3)]  # what is known need not be measured
    along = axes.__getitem__ if known else None
    site = site_of(wrap(net), image(64, 48), parse_seed("at:3,4"), along)
    assert site.centres is not None
    middles = [(float(each.first), float(each.stride)) for each in site.centres]
    assert middles == [(-1 + 4 / 2, 2), (0 + 5 / 2, 3)]


def test_only_at_asks_for_middles() -> None:
    site = site_of(wrap(nn.Conv2d(3, 1, 3)), image(8, 8), parse_seed("pixel:1,2"))
    assert site.centres is None and notes_on(parse_seed("pixel:1,2"), site) == ()


def test_middles_that_are_not_known_are_told_of() -> None:
    net = Net(lambda x: x + x.mean((2, 3), keepdim=True))
    seed = parse_seed("at:1,2")
    site = site_of(wrap(net), image(8, 8), seed)
    assert site.centres is None and notes_on(seed, site) == (BY_PROPORTION,)
