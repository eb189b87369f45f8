"""Any text as a seed, on outputs of any shape: a cotangent of that shape, or a SeedError.
A dense one is zero outside of the box that the seed tells.

An example takes well under a millisecond.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gradviz.errors import SeedError
from gradviz.image.frame import Frame
from gradviz.seeds.kinds import KINDS
from gradviz.seeds.losses import LOSSES
from gradviz.seeds.places import Site
from gradviz.seeds.seed import parse_seed
from tests.robustness.fuzz.rounds import QUICK
from tests.robustness.fuzz.texts import anything, near, numbers

FILES = ("mask.png", "scores.npy", "map.npy", "nan.npy", "broken.npy", "empty.npy", "absent.npy")
small = st.integers(-2, 6).map(str)
arguments = st.one_of(
    st.lists(small, max_size=6).map(",".join),
    st.sampled_from(FILES),
    st.builds("{}={}".format, st.sampled_from([*LOSSES, "l3"]), st.sampled_from([*FILES, "1"])),
    st.sampled_from(["cat", "dog", "dgo"]),
    numbers,
    near(",", "=", ":", "="),
    anything,
)
terms = st.builds("{}:{}".format, st.sampled_from([*KINDS]), arguments)
specs = st.one_of(
    terms,
    st.builds("{}*{} {} {}".format, numbers, terms, st.sampled_from("+-"), terms),
    st.sampled_from([*KINDS]),
    near(":"),
    anything,
)
shapes = st.one_of(
    st.tuples(st.integers(1, 5)),
    st.tuples(st.integers(1, 4), st.integers(1, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)),
    st.lists(st.integers(0, 3), max_size=5).map(tuple),
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that seeds may name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Image.new("L", (3, 2), 128).save("mask.png")
    np.save("scores.npy", np.arange(3.0))
    np.save("map.npy", np.ones((2, 4, 5)))
    np.save("nan.npy", np.full((2, 4, 5), np.nan))
    np.save("empty.npy", np.ones((0, 4)))
    Path("broken.npy").write_bytes(b"\x93NUMPY\x01\x00")


@QUICK
@given(spec=specs, shape=shapes, framed=st.booleans())
def test_any_text_on_any_output(
    files: None, spec: str, shape: tuple[int, ...], framed: bool
) -> None:
    y = torch.linspace(-1, 1, max(1, int(np.prod(shape))))[: int(np.prod(shape))].reshape(shape)
    frame = Frame((9, 7), (9, 7), (0, 0), (9, 7)) if framed else None
    site = Site(frame, ("cat", "dog"))
    try:
        seed = parse_seed(spec)
        v = seed.cotangent(y, site)
    except SeedError as error:
        assert "\n" not in str(error) or "\n" in spec
    else:
        assert v.shape == y.shape and v.dtype == y.dtype
        for _, term in seed.terms:
            assert term.kind.name == term.spec.partition(":")[0]
            # Numbers count from 0; Python would count negative ones from the end.
            assert all(number >= 0 for number in term.values if isinstance(number, int))
        if len(shape) in (2, 3):
            height, width = shape[-2:]
            x0, y0, x1, y1 = seed.box((width, height), site)
            assert 0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height
            v[..., y0:y1, x0:x1] = 0
            assert not v.any()
