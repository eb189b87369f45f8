"""`gradviz.saliency` from Python: what it takes, what it refuses, what its results know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gradviz
from gradviz.errors import UsageError
from gradviz.heatmap import views as strips
from gradviz.image.preprocess import Preprocess
from tests.helpers.formats import script
from tests.helpers.nets import HalfSquare, Net

X = np.random.default_rng(0).uniform(0.1, 1, (3, 4, 5)).astype(np.float32)

FORMS: dict[str, Callable[[], np.ndarray | Tensor]] = {
    "array": lambda: X,
    "tensor": lambda: torch.from_numpy(X),
    "of one batch": lambda: torch.from_numpy(X)[None],
    "array of one batch": lambda: X[None],
    "in doubles": lambda: X.astype(np.float64),
    "that requires a gradient": lambda: torch.from_numpy(X.copy()).requires_grad_(),
    "computed from one that does": lambda: torch.from_numpy(X.copy()).requires_grad_() * 1,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_of_a_tensor(form: str) -> None:
    image = FORMS[form]()
    (result,) = gradviz.saliency(HalfSquare(), image, "ones")
    assert (result.image, result.seed) == ("tensor", "ones")
    assert result.array.dtype == np.float32
    assert np.array_equal(result.array, X)
    if isinstance(image, Tensor) and image.is_leaf:
        assert image.grad is None


def test_a_matrix_is_an_image_of_one_channel() -> None:
    for image in (X[0], torch.from_numpy(X[0])):
        (result,) = gradviz.saliency(HalfSquare(), image, "ones")
        assert np.array_equal(result.array, X[:1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"images": [torch.from_numpy(X)]}, r"one tensor or array \[C, H, W\]"),
        ({"images": [X, X]}, r"one tensor or array \[C, H, W\]"),
        ({"images": X[:2].reshape(2, 1, 4, 5)}, r"\[C, H, W\], got \[2, 1, 4, 5\]"),
        ({"images": X[0, 0]}, r"\[C, H, W\], got \[5\]"),
        ({"images": X[:, :0]}, r"\[C, H, W\], got \[3, 0, 5\]"),
        ({"batch_size": 0}, "batch_size 0: expected at least 1"),
        ({"batch_size": -1}, "batch_size -1: expected at least 1"),
        ({"preprocess": Preprocess(mean=(0.5, 0.5, 0.5))}, "enters the model as it is"),
        ({"method": "magic"}, "'magic'.*gradient.*input-x-gradient"),
        ({"seed": "tpo"}, r"did you mean top\?"),
    ],
)
def test_arguments_that_are_wrong(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        gradviz.saliency(HalfSquare(), **{"images": X, "seed": "ones", **arguments})


def test_a_view_that_is_not_there() -> None:
    (result,) = gradviz.saliency(HalfSquare(), X, "ones")
    for ask in (result.picture, result.scale):
        with pytest.raises(UsageError, match=r"'heat'.*heatmap.*overlay"):
            ask("heat")


def test_the_stats_hold_the_heatmaps_scale() -> None:
    (result,) = gradviz.saliency(HalfSquare(), X, "ones")
    expected = np.percentile(X.sum(axis=0, dtype=np.float64), 99)
    assert result.stats["scale"] == pytest.approx(expected, rel=1e-6)
    assert result.stats["scale"] == result.scale() != result.scale("rgb")


@pytest.fixture
def carded(tmp_path: Path) -> Path:
    """A model whose card subtracts 0.25, and an image."""
    script(HalfSquare(), tmp_path / "model.ts")
    (tmp_path / "model.yaml").write_text("preprocess: {mean: [0.25, 0.25, 0.25]}\n")
    np.save(tmp_path / "x.npy", X)
    return tmp_path


def test_the_cards_preprocessing_is_used_and_the_callers_wins(carded: Path) -> None:
    model = gradviz.load_model(carded / "model.ts")
    (by_card,) = gradviz.saliency(model, carded / "x.npy", "ones")
    assert np.array_equal(by_card.array, X - np.float32(0.25))
    recipe = Preprocess(std=(0.5, 0.5, 0.5))
    (by_caller,) = gradviz.saliency(model, carded / "x.npy", "ones", preprocess=recipe)
    assert np.array_equal(by_caller.array, 2 * X)
    (plain,) = gradviz.saliency(model, carded / "x.npy", "ones", preprocess=Preprocess())
    assert np.array_equal(plain.array, X)


def test_a_tensor_passes_by_the_card(carded: Path) -> None:
    (result,) = gradviz.saliency(gradviz.load_model(carded / "model.ts"), X, "ones")
    assert np.array_equal(result.array, X)


def test_a_bgr_models_gradient_is_in_its_own_order_and_its_picture_in_true_colours(
    carded: Path,
) -> None:
    recipe = Preprocess(channels="bgr")
    (entered,) = gradviz.saliency(HalfSquare(), carded / "x.npy", "ones", preprocess=recipe)
    assert np.array_equal(entered.array, X[::-1])
    coloured = Net(lambda x: x[:, 0] + 2 * x[:, 1] + 4 * x[:, 2])
    (result,) = gradviz.saliency(coloured, carded / "x.npy", "ones", preprocess=recipe)
    assert [channel.min() for channel in result.array] == [1, 2, 4]
    assert [channel.max() for channel in result.array] == [1, 2, 4]
    picture = np.asarray(result.picture("rgb", scale=8))
    # Red is the third channel: 255 · (0.5 + 0.5 · 4 / 8), and so on.
    assert picture[0, 0].tolist() == [191, 159, 143]


def test_statistics_in_strips_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.array([[[3, -4, np.nan, 0, 12, 0]]], np.float32)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 2)
    (result,) = gradviz.saliency(HalfSquare(), image, "ones")
    assert {name: result.stats[name] for name in result.stats if name != "scale"} == {
        "min": -4,
        "max": 12,
        "abs_mean": 19 / 5,
        "l2": 13,
        "zero_fraction": 2 / 5,
        "nonfinite": 1,
    }


def test_statistics_of_nothing_finite_are_nan() -> None:
    (result,) = gradviz.saliency(HalfSquare(), np.full((1, 2, 2), np.nan, np.float32), "ones")
    assert result.stats.pop("nonfinite") == 4
    assert result.stats.pop("scale") == 0
    assert all(np.isnan(number) for number in result.stats.values())
