"""A short round of the benchmark `agreement`: rounding passes, breaks do not."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.agreement import JUDGE, PHOTOS, Gradients, Pair, pair_of, threads
from benchmarks.agreement_nets import Subject, subjects
from gradviz.commands.compare.comparison import DEFAULT

SUBJECTS = {subject.name: subject for subject in subjects([0])}


@pytest.fixture(scope="module", params=SUBJECTS)
def gradients(request: pytest.FixtureRequest) -> Iterator[Gradients]:
    with threads(1):
        yield Gradients(SUBJECTS[request.param], PHOTOS[:1])


def test_the_metric_that_is_measured_is_the_default() -> None:
    assert DEFAULT["saliency"] == JUDGE


def test_there_are_twenty_random_networks_and_three_trained_ones() -> None:
    names = [subject.name for subject in subjects()]
    trained = {name for name in names if name.startswith("trained ")}
    assert (len(names), len({*names}), len(trained)) == (23, 23, 3)


def test_rounding_is_no_difference(gradients: Gradients) -> None:
    pairs = [*gradients.roundings()]
    assert len(pairs) == 7 * len(gradients.plain) == 21
    assert [pair for pair in pairs if pair.fails(JUDGE)] == []
    assert max(pair.values["max"] for pair in pairs) > 0, "nothing was rounded"


def test_every_break_is_a_difference(gradients: Gradients) -> None:
    caught = {pair.difference for pair in gradients.breaks() if pair.fails(JUDGE)}
    assert caught == {
        "other weights",
        "detached branch",
        "changed stride",
        "other preprocessing",
        "NaN in a weight",
    }


def test_noise_on_the_weights_is_a_difference(gradients: Gradients) -> None:
    by_size: dict[str, list[float]] = {}
    for pair in gradients.noise():
        by_size.setdefault(pair.difference, []).append(pair.values[JUDGE])
    values = [max(some) for some in by_size.values()]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.03, "1e-2"
    assert values[-1] < 0.03, "3e-5"


def test_a_map_that_is_missing_or_nan_fails_whatever_the_metric() -> None:
    subject: Subject = SUBJECTS["U-Net 0"]
    a = np.ones((3, 4, 4), np.float32)
    broken = a.copy()
    broken[0, 0, 0] = math.nan
    others = (None, broken, a[:, :2])
    pairs: list[Pair] = [pair_of(subject, "", a, other) for other in others]
    assert all(pair.fails(metric) for pair in pairs for metric in ("max", "iou", JUDGE))
    assert not pair_of(subject, "", a, a).fails("max")
