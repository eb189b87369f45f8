"""Seeds on detections: which box is taken, and its cotangent, against ones written out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradviz.errors import SeedError, UsageError
from gradviz.image.frame import Frame
from gradviz.seeds.places import Site
from gradviz.seeds.seed import ask_for_boxes, parse_seed
from gradviz.seeds.suppression import Suppression, survivors

LABELS = ("circle", "square", "triangle")

# x0, y0, x1, y1, value, score, class
ROWS = torch.tensor(
    [
        [0, 0, 10, 10, 2.0, 0.6, 1],
        [1, 0, 11, 10, 3.0, 0.9, 1],  # overlaps the first by 9/11
        [1, 0, 11, 10, 1.0, 0.5, 2],  # the same box of another class
        [20, 20, 30, 40, -1.0, 0.3, 1],
        [40, 40, 50, 50, -2.0, 0.2, 0],  # below the least score
        [5, 5, 5, 9, 9.0, 0.99, 0],  # without area
    ]
)
# A photo of 200x100 pixels, shrunk to 100x50 and put into the middle of 100x80.
FRAME = Frame((200, 100), (100, 50), (0, 0), (100, 80), (0, 15), (100, 50))


def site(score: float = 0.25, iou: float = 0.5) -> Site:
    return Site(FRAME, LABELS, suppression=Suppression(score, iou))


@pytest.mark.parametrize(
    ("spec", "row", "entries"),
    [
        ("box:0", 1, {4: 1}),
        ("box:1", 2, {4: 1}),
        ("box:2", 3, {4: 1}),
        ("box:0:x0", 1, {0: 1}),
        ("box:0:y0", 1, {1: 1}),
        ("box:0:x1", 1, {2: 1}),
        ("box:2:y1", 3, {3: 1}),
        ("box:0:cx", 1, {0: 0.5, 2: 0.5}),
        ("box:0:cy", 1, {1: 0.5, 3: 0.5}),
        ("box:0:w", 1, {0: -1, 2: 1}),
        ("box:0:h", 1, {1: -1, 3: 1}),
        ("box:at:50,20", 3, {4: 1}),  # 25.25, 25.25 of the input
        ("box:at:50,20:x0", 3, {0: 1}),
        ("object:triangle", 2, {4: 1}),
        ("object:1", 1, {4: 1}),
    ],
)
def test_the_cotangent_is_on_one_number_of_one_box(
    spec: str, row: int, entries: dict[int, float]
) -> None:
    expected = torch.zeros(6, 7)
    for column, weight in entries.items():
        expected[row, column] = weight
    assert torch.equal(parse_seed(spec).cotangent(ROWS, site()), expected)


def test_the_best_box_over_a_pixel_is_taken() -> None:
    """Rows 0 to 2 lie over it; the first is suppressed."""
    frame = Frame((100, 80), (100, 80), (0, 0), (100, 80))
    found = parse_seed("box:at:5,5").cotangent(ROWS, Site(frame, suppression=Suppression()))
    assert found.nonzero().tolist() == [[1, 4]]


def test_a_detection_is_described_in_pixels_of_the_photo() -> None:
    found = parse_seed("box:2").detection(ROWS, site())
    assert found is not None
    assert (found.index, found.label) == (1, "square")
    assert found.score == pytest.approx(0.3)
    assert found.box_in_input == (20, 20, 30, 40)
    assert found.box == (40, 10, 60, 50)  # twice as large, and without the 15 rows above
    made = Frame((200, 100), (100, 50), (0, 0), (100, 80), maker="Processor")
    found = parse_seed("box:2").detection(ROWS, Site(made, suppression=Suppression()))
    assert found is not None and found.box is None and found.label is None


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("box:3", ("no detection 3", "there are 3, by score from 0: square 0.90 at 2,-30,22,-10")),
        ("box:at:199,99", ("no detection lies over 199,99", "triangle 0.50")),
        ("object:circle", ("no detection of class 0", "square 0.30")),
        ("box:at:200,0", ("outside the image",)),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(spec: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(SeedError) as refused:
        parse_seed(spec).cotangent(ROWS, site())
    assert all(part in str(refused.value) for part in (f"seed {spec}: ", *parts)), refused.value


def test_without_any_detection_the_best_one_is_named() -> None:
    with pytest.raises(SeedError, match=r"none has a score of 0.95 or more; the highest is .*0.9"):
        parse_seed("box:0").cotangent(ROWS[:5], site(score=0.95))
    with pytest.raises(SeedError, match=r"none has a score of 0.25 or more; see --box-score"):
        parse_seed("box:0").cotangent(ROWS[:0], site())


@pytest.mark.parametrize(
    "spec",
    ["box", "box:", "box:x0", "box:0:left", "box:0:x0:y0", "box:at", "box:at:1", "box:at:1,2,3"],
)
def test_other_forms_are_refused(spec: str) -> None:
    with pytest.raises(SeedError, match=r"write it as box:N\|at:X,Y"):
        parse_seed(spec)


def test_detections_take_seeds_on_detections_only() -> None:
    for spec in ("top", "class:0", "pixel:0,0", "channel:0"):
        with pytest.raises(SeedError, match=rf"seed {spec}: needs .* use ones, box, object"):
            parse_seed(spec).cotangent(ROWS, site())
    with pytest.raises(SeedError, match="seed box:0: needs detections of a detector"):
        parse_seed("box:0").cotangent(ROWS, Site())
    seeds = [parse_seed(spec) for spec in ("box:0", "object:1")]
    assert ask_for_boxes(seeds) and not ask_for_boxes([])
    with pytest.raises(SeedError, match="give them in two runs"):
        ask_for_boxes([*seeds, parse_seed("top")])
    assert ask_for_boxes([*seeds, parse_seed("ones")])


def test_ones_are_the_scores_of_all_detections() -> None:
    v = parse_seed("ones").cotangent(ROWS, site())
    assert v.nonzero().tolist() == [[1, 4], [2, 4], [3, 4]] and v.sum() == 3
    with pytest.raises(SeedError, match="seed ones: there is no detection: none has a score of"):
        parse_seed("ones").cotangent(ROWS, site(score=1))


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_that_are_none_are_refused(share: float) -> None:
    with pytest.raises(UsageError, match="--box-score"):
        Suppression(score=share)
    with pytest.raises(UsageError, match="--box-iou"):
        Suppression(iou=share)


def slowly(rows: list[list[int]], rule: Suppression) -> list[int]:
    """Suppression pixel by pixel: boxes of whole numbers are sets of pixels."""

    def area(row: list[int]) -> set[tuple[int, int]]:
        return {(x, y) for x in range(row[0], row[2]) for y in range(row[1], row[3])}

    found: list[int] = []
    for n in sorted(range(len(rows)), key=lambda n: -rows[n][4]):
        here = area(rows[n])
        others = [area(rows[k]) for k in found if rows[k][5] == rows[n][5]]
        near = any(len(here & other) > rule.iou * len(here | other) for other in others)
        if here and rows[n][4] / 100 >= rule.score and not near:
            found.append(n)
    return found


place = st.integers(0, 6)
box = st.tuples(place, place, place, place, st.integers(0, 100), st.integers(0, 1)).map(list)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(st.lists(box, max_size=8), st.sampled_from([0.0, 0.25, 0.5]), st.sampled_from([0.25, 0.5]))
def test_suppression_is_that_of_sets_of_pixels(
    drawn: list[list[int]], score: float, iou: float
) -> None:
    rows = torch.tensor(drawn, dtype=torch.float64).reshape(-1, 6)
    packed: Tensor = torch.cat([rows[:, :4], rows[:, 4:5], rows[:, 4:5] / 100, rows[:, 5:]], 1)
    rule = Suppression(score, iou)
    assert survivors(packed, rule) == slowly(drawn, rule)


def test_a_box_that_overlaps_as_much_as_allowed_stays() -> None:
    rows = torch.tensor([[0, 0, 2, 1, 1.0, 0.9, 0], [0, 0, 1, 1, 1.0, 0.8, 0]])
    assert survivors(rows, Suppression(iou=0.5)) == [0, 1]
    assert survivors(rows, Suppression(iou=0.49)) == [0]


def test_boxes_with_nan_are_left_out() -> None:
    rows = ROWS.clone()
    rows[1, 0] = float("nan")
    assert survivors(rows, Suppression()) == [0, 2, 3]
