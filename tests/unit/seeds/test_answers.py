"""What an output holds for a class, against numbers written out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gradviz.seeds.answers import Answer, are_probabilities, first_answers, label_warnings, shares
from gradviz.seeds.places import Part, Site
from gradviz.seeds.seed import parse_seed

SCORES = torch.tensor([0.5, 3.0, -1.0, 2.0])
LABELS = ("circle", "square", "triangle")
TOTAL = sum(math.exp(score) for score in SCORES.tolist())


def answer(spec: str, y: torch.Tensor, site: Site | None = None) -> Answer | None:
    return parse_seed(spec).answer(y, site or Site(labels=LABELS))


@pytest.mark.parametrize(
    ("spec", "index", "label"),
    [
        ("top", 1, "square"),
        ("top:2", 3, None),  # there are three labels
        ("class:2", 2, "triangle"),
        ("class:Circle", 0, "circle"),
    ],
)
def test_a_class_of_scores(spec: str, index: int, label: str | None) -> None:
    found = answer(spec, SCORES)
    assert found is not None
    assert (found.index, found.label, found.score) == (index, label, SCORES[index].item())
    assert found.share == pytest.approx(math.exp(SCORES[index]) / TOTAL, rel=1e-14)


@pytest.mark.parametrize("spec", ["ones", "channel:1", "loss:ce=1"])
def test_other_seeds_take_no_class(spec: str) -> None:
    assert answer(spec, SCORES) is None


def test_a_dense_output_has_a_sum_and_no_share() -> None:
    dense = torch.arange(12.0).reshape(3, 2, 2)
    assert answer("class:1", dense) == Answer(1, "square", 4 + 5 + 6 + 7, None)
    assert answer("top", dense) is None
    assert answer("top", dense[:, :1, :1], Site(part=Part((0, 0, 1, 1), (2, 2)))) is None
    assert answer("predicted:1", dense) is None


def test_a_map_of_one_place_is_like_scores() -> None:
    assert answer("top", SCORES[:, None, None]) == answer("top", SCORES)


def test_a_single_value_has_no_share() -> None:
    assert answer("top", torch.tensor([0.75])) == Answer(0, "circle", 0.75, None)
    assert shares(torch.tensor([0.7])) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_probabilities_are_their_own_shares(dtype: torch.dtype) -> None:
    exact = torch.tensor([3.0, *[0.0] * 999], dtype=torch.float64).softmax(0)
    given = exact.to(dtype)
    found = shares(given)
    assert found is not None and found.tolist() == given.double().tolist()


def test_scores_that_are_no_probabilities() -> None:
    for values in ([0.5, 0.6], [1.5, -0.5], [0.2, 0.3], [0.9, 0.95, 0.1], [math.nan, 1.0]):
        scores = torch.tensor(values)
        assert not are_probabilities(scores)
        found, total = shares(scores), sum(map(math.exp, values))
        assert found is not None
        wanted = [math.exp(value) / total for value in values]
        assert found.tolist() == pytest.approx(wanted, rel=1e-6, nan_ok=True)


def test_log_probabilities_give_the_probabilities() -> None:
    found = shares(SCORES.double().log_softmax(0))
    assert found is not None
    assert found.tolist() == pytest.approx([math.exp(s) / TOTAL for s in SCORES.tolist()])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_share_that_is_no_number_is_none(value: float) -> None:
    found = answer("class:0", torch.tensor([value, 1.0]))
    assert found is not None and found.share is None and not math.isfinite(found.score)


def test_large_scores_do_not_overflow() -> None:
    found = answer("class:0", torch.tensor([1e4, 1e4 - 1]))
    assert found is not None and found.share == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_first_classes_fall_and_equal_ones_rise_by_index() -> None:
    found = first_answers(torch.tensor([1.0, 2.0, 2.0, -1.0, 0.0, 0.0, 3.0]), ())
    assert [each.index for each in found] == [6, 1, 2, 0, 4]
    assert [each.index for each in first_answers(SCORES[:2], ())] == [1, 0]


def test_a_wrong_count_of_labels_is_warned_of() -> None:
    assert label_warnings(4, ()) == label_warnings(3, LABELS) == ()
    (warning,) = label_warnings(4, LABELS)
    assert "4 classes and 3 labels" in warning
    assert parse_seed("top").warnings(SCORES, Site(labels=LABELS)) == (warning,)
    assert parse_seed("ones").warnings(SCORES, Site(labels=LABELS)) == ()
