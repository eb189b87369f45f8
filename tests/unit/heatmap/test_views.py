"""Every view against pixels worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradviz.arrays import Floats
from gradviz.errors import UsageError
from gradviz.heatmap import draw as strips
from gradviz.heatmap.colours import NONFINITE, load_palette
from gradviz.heatmap.draw import draw, scale_in, scale_of
from gradviz.heatmap.views import VIEWS
from gradviz.image.frame import Frame

G: Floats = np.array([[[1, -2], [0, 3]], [[1, 0], [0, 1]], [[-1, -2], [0, 4]]], np.float32)
"""Three channels of 2×2: Σ|g| is [[3, 4], [0, 8]], Σg is [[1, -4], [0, 8]]."""
BLACK = np.zeros((2, 2, 3), np.uint8)
PALETTE = load_palette()


def floats(values: Iterable[float]) -> Floats:
    return np.array(list(values), np.float32)


def pixels(view: str, scale: float, g: Floats = G, backdrop: np.ndarray = BLACK) -> np.ndarray:
    return np.asarray(draw(g, VIEWS[view], scale, PALETTE, backdrop))


@pytest.mark.parametrize(
    ("view", "quantity"),
    [
        ("heatmap", [[3, 4], [0, 8]]),
        ("gray", [[3, 4], [0, 8]]),
        ("overlay", [[3, 4], [0, 8]]),
        ("signed", [[1, -4], [0, 8]]),
        ("positive", [[1, 0], [0, 8]]),
        ("negative", [[0, 4], [0, 0]]),
        ("rgb", G.tolist()),
    ],
)
def test_what_a_view_draws(view: str, quantity: list[list[float]]) -> None:
    assert VIEWS[view].quantity(G).tolist() == quantity


def test_a_view_is_signed_if_what_it_draws_can_be_negative() -> None:
    """Its scale bar begins at −1 then, and at 0 otherwise."""
    assert {name for name in VIEWS if (VIEWS[name].quantity(G) < 0).any()} == {
        name for name, view in VIEWS.items() if view.signed
    }


def test_every_channel_of_a_small_map_is_enlarged() -> None:
    colours = np.array([[[1.0]], [[-1.0]], [[0.5]]], np.float32)
    small = pixels("rgb", 1, colours, BLACK[:1, :1])
    large = pixels("rgb", 1, np.tile(colours, (1, 2, 3)), np.zeros((8, 9, 3), np.uint8))
    assert large.shape == (8, 9, 3) and (large == small[0, 0]).all()


def test_gray_is_the_share_of_the_scale() -> None:
    assert pixels("gray", 8)[..., 0].tolist() == [[96, 128], [0, 255]]
    assert pixels("gray", 4)[..., 0].tolist() == [[191, 255], [0, 255]]
    assert pixels("gray", 2.0**-17, G / 2.0**20)[..., 0].tolist() == [[96, 128], [0, 255]]


def test_heatmap_takes_the_sequential_colours() -> None:
    ends = PALETTE.sequential_table
    found = pixels("heatmap", 8)
    assert found[1, 0].tolist() == ends[0].tolist()
    assert found[1, 1].tolist() == ends[-1].tolist()
    assert found[0, 1].tolist() == ends[127].tolist()


def test_signed_is_neutral_at_zero_red_above_and_blue_below() -> None:
    found = pixels("signed", 8).astype(int)
    neutral = found[1, 0]
    assert neutral.min() > 240 and np.ptp(neutral) <= 2
    assert found[1, 1, 0] > found[1, 1, 2] + 50
    assert found[0, 1, 2] > found[0, 1, 0] + 50


def test_rgb_is_mid_gray_at_zero() -> None:
    found = pixels("rgb", 4)
    assert found[1, 0].tolist() == [128, 128, 128]
    assert found[1, 1].tolist() == [223, 159, 255]
    assert found[0, 1].tolist() == [64, 128, 64]


def test_rgb_of_other_channel_counts_is_their_mean() -> None:
    assert pixels("rgb", 4, G[:2])[0, 1].tolist() == [96, 96, 96]
    assert pixels("rgb", 4, G[:1])[1, 1].tolist() == [223, 223, 223]


def test_overlay_is_the_dimmed_picture_where_the_map_is_zero() -> None:
    white = np.full((2, 2, 3), 255, np.uint8)
    found = pixels("overlay", 8, backdrop=white)
    assert found[1, 0].tolist() == [204, 204, 204]
    assert np.abs(found[1, 1].astype(int) - PALETTE.sequential_table[-1]).max() < 25


@pytest.mark.parametrize("view", VIEWS)
def test_a_zero_map_is_evenly_blank(view: str) -> None:
    assert len(np.unique(pixels(view, 0.0, np.zeros_like(G)).reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_painted_so(view: str, value: float) -> None:
    g = G.copy()
    g[1, 0, 1] = value
    found = pixels(view, 8, g)
    marked = (found == NONFINITE).all(axis=-1)
    assert marked.tolist() == [[False, True], [False, False]]


@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50),
    zeros=st.integers(0, 200),
    clip=st.floats(1, 100),
)
def test_zeros_do_not_move_the_scale(values: list[float], zeros: int, clip: float) -> None:
    alone = scale_of(floats(values), clip)
    assert scale_of(floats([*values, *([0.0] * zeros), np.nan, np.inf]), clip) == alone
    sizes = sorted(abs(value) for value in values if value)
    assert (sizes[0] <= alone <= sizes[-1]) if sizes else alone == 0


def test_the_scale_is_a_percentile() -> None:
    assert scale_of(floats(range(101)), 100) == 100
    assert scale_of(floats(range(-100, 1)), 50) == pytest.approx(50.5)


def test_in_the_files_pixels_what_was_cropped_away_is_zero() -> None:
    frame = Frame((6, 4), (6, 4), (2, 1), (2, 2))
    backdrop = np.zeros((4, 6, 3), np.uint8)
    found = np.asarray(draw(G, VIEWS["gray"], 8, PALETTE, backdrop, frame))[..., 0]
    expected = np.zeros((4, 6), int)
    expected[1:3, 2:4] = [[96, 128], [0, 255]]
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(("origin", "expected"), [((1, 1), 96), ((0, 0), 255), ((0, 1), 128)])
def test_a_crop_is_left_at_its_place_if_it_is_as_large_as_the_file(
    origin: tuple[int, int], expected: int
) -> None:
    """The file's 2×2 pixels, enlarged to 4×4, have their centres at 1 and 3; a crop of 2×2 holds
    one of them, and the others are zero."""
    frame = Frame((2, 2), (4, 4), origin, (2, 2))
    found = np.asarray(draw(G, VIEWS["gray"], 8, PALETTE, BLACK, frame))[..., 0]
    assert found.tolist() == [[expected, 0], [0, 0]]


def test_a_named_map_replaces_the_default_of_its_kind() -> None:
    viridis, vik = load_palette("viridis"), load_palette("vik")
    assert (viridis.diverging_table == PALETTE.diverging_table).all()
    assert viridis.sequential_table[0].tolist() == [68, 1, 84]
    assert (vik.sequential_table == PALETTE.sequential_table).all()
    assert (vik.diverging_table != PALETTE.diverging_table).any()
    reverse = load_palette("viridis_r").sequential_table
    np.testing.assert_allclose(reverse, viridis.sequential_table[::-1], atol=1)


@pytest.mark.parametrize(
    ("name", "hint"), [("virids", "did you mean viridis?"), ("", "try inferno"), ("zzzzzz", "try")]
)
def test_an_unknown_map_is_refused(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        load_palette(name)
    assert hint in str(error.value)


@pytest.mark.parametrize("view", VIEWS)
def test_strips_make_the_same_picture_and_scale(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    g = np.random.default_rng(0).standard_normal((3, 11, 5)).astype(np.float32)
    g[0, 7, 2] = np.nan
    backdrop = np.random.default_rng(1).integers(0, 256, (11, 5, 3), dtype=np.uint8)
    whole = scale_in(g, VIEWS[view], 90), pixels(view, 2, g, backdrop).tolist()
    assert whole[0] == scale_of(VIEWS[view].quantity(g), 90)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 10)
    assert [rows.stop - rows.start for rows in strips.strips(11, 5)] == [2, 2, 2, 2, 2, 1]
    assert whole == (scale_in(g, VIEWS[view], 90), pixels(view, 2, g, backdrop).tolist())


def test_white_is_the_last_colour_of_a_map_of_grays() -> None:
    table = load_palette("matlab:gray").sequential_table
    assert (table[0].tolist(), table[-1].tolist()) == ([0, 0, 0], [255, 255, 255])
    assert set(np.diff(table[:, 0].astype(int)).tolist()) == {1, 2}


@pytest.mark.parametrize("strip", [6, strips.STRIP_PIXELS])
def test_a_layers_map_is_enlarged_to_the_picture(
    strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bilinear: corners keep their value, and what lies between two is between them."""
    monkeypatch.setattr(strips, "STRIP_PIXELS", strip)
    g = floats([0, 0, 4, 4]).reshape(1, 2, 2)
    backdrop = np.zeros((4, 6, 3), np.uint8)
    drawn = np.asarray(draw(g, VIEWS["gray"], 4, load_palette(), backdrop))
    assert drawn.shape == (4, 6, 3)
    assert drawn[0].tolist() == [[0, 0, 0]] * 6 and drawn[3].tolist() == [[255] * 3] * 6
    assert 0 < drawn[1, 0, 0] < drawn[2, 0, 0] < 255
    broken = np.asarray(
        draw(floats([np.nan, 1, 1, 1]).reshape(1, 2, 2), VIEWS["gray"], 4, load_palette(), backdrop)
    )
    green = (broken == NONFINITE).all(-1)
    assert green[:2, :3].all() and green.sum() == 6
    # Beside it, NaN counts as zero.
    assert broken[2, 0, 0] == 48 and broken[2, 5, 0] == 64


def test_a_wide_map_is_enlarged_to_a_tall_picture() -> None:
    """Three columns and two rows become two columns and three rows."""
    g = floats([0, 0, 4, 0, 0, 4]).reshape(1, 2, 3)
    drawn = np.asarray(draw(g, VIEWS["gray"], 4, PALETTE, np.zeros((3, 2, 3), np.uint8)))
    assert drawn.shape == (3, 2, 3)
    assert (drawn[0] == drawn[1]).all() and (drawn[0] == drawn[2]).all()
    assert drawn[0, 0, 0] < 64 and drawn[0, 1, 0] > 128
