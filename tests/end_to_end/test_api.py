"""`gradviz.saliency` from Python: what it takes, what it refuses, what its results know."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradviz
from gradviz.errors import GradvizError, UsageError
from gradviz.heatmap import draw as strips
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


# What Python hands in -----------------------------------------------------------------------------


def test_an_image_of_pillows_goes_through_the_recipe(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (10, 14, 4), np.uint8)
    image = Image.fromarray(pixels, "RGBA")
    image.save(tmp_path / "x.png")
    for options in ({}, {"preprocess": "imagenet"}, {"preprocess": Preprocess(channels="bgr")}):
        (held,) = gradviz.saliency(HalfSquare(), image, "ones", **options)
        (read,) = gradviz.saliency(HalfSquare(), tmp_path / "x.png", "ones", **options)
        assert held.image == "image" and np.array_equal(held.array, read.array)
    sideways = image.convert("RGB")
    sideways.getexif()[0x0112] = 6
    (upright,) = gradviz.saliency(HalfSquare(), sideways, "ones")
    assert upright.array.shape == (3, 14, 10) and sideways.size == (14, 10)


def test_a_recipe_may_be_given_by_its_name() -> None:
    image = Image.new("RGB", (300, 280), (255, 0, 0))
    wrapped = gradviz.wrap(HalfSquare(), preprocess="imagenet")
    for (found,) in (
        gradviz.saliency(HalfSquare(), image, "ones", preprocess="imagenet"),
        gradviz.saliency(wrapped, image, "ones"),
    ):
        expected = (np.array([1, 0, 0]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        assert found.array.shape == (3, 224, 224)
        np.testing.assert_allclose(found.array[:, 5, 5], expected, rtol=1e-5)
    for wrong in ("imagnet", {"resize": 3}):
        with pytest.raises(UsageError, match=r"preprocess: expected .* imagenet, none"):
            gradviz.wrap(HalfSquare(), preprocess=wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"preprocess: expected .* imagenet, none"):
            gradviz.saliency(HalfSquare(), image, preprocess=wrong)  # type: ignore[arg-type]


def test_an_array_with_its_channels_last_is_told_what_to_do() -> None:
    for channels in (1, 3, 4):
        with pytest.raises(UsageError, match=r"looks like \[H, W, C\]: move the last axis"):
            gradviz.saliency(HalfSquare(), np.zeros((30, 40, channels), np.uint8), "ones")
    (narrow,) = gradviz.saliency(HalfSquare(), np.ones((3, 40, 4), np.float32), "ones")
    assert narrow.array.shape == (3, 40, 4)


@pytest.mark.parametrize("form", FORMS)
def test_the_receptive_field_at_a_tensor(form: str) -> None:
    net = nn.Conv2d(3, 1, 3, padding=1)
    found = gradviz.receptive_field(net, FORMS[form](), [(0, 0), (2, 1)])
    assert [(field.image, field.pixel) for field in found.fields] == [
        ("tensor", (0, 0)),
        ("tensor", (2, 1)),
    ]
    assert [int(field.structural.mask.sum()) for field in found.fields] == [4, 9]
    assert found.geometry.x is not None and found.geometry.x.size == 3


def test_the_receptive_field_at_an_image_of_pillows() -> None:
    found = gradviz.receptive_field(nn.Conv2d(3, 1, 3), Image.new("RGB", (9, 7)))
    assert [field.structural.mask.shape for field in found.fields] == [(7, 9)]


METHODS_HERE = ["gradient", "smoothgrad", "integrated-gradients", "guided", "gradcam"]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_any_mode_of_the_caller_will_do(mode: Callable[[], Any]) -> None:
    def net() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, bias=False))

    image = torch.from_numpy(np.random.default_rng(2).random((3, 8, 8), np.float32))
    expected = [gradviz.saliency(net(), image, "ones", method=name)[0] for name in METHODS_HERE]
    field = gradviz.receptive_field(net(), image)
    with mode():
        model = gradviz.wrap(net())
        found = [gradviz.saliency(model, image * 1, "ones", method=m)[0] for m in METHODS_HERE]
        there = gradviz.receptive_field(model, image * 1)
        assert not torch.is_grad_enabled()
    for one, other in zip(expected, found, strict=True):
        assert np.array_equal(one.array, other.array)
    assert np.array_equal(field.fields[0].energy, there.fields[0].energy)


def test_a_result_prints_in_a_line() -> None:
    (result,) = gradviz.saliency(HalfSquare(), X, "ones")
    assert repr(result) == (
        "Attribution(image='tensor', seed='ones', method='gradient', array=[3, 4, 5], "
        f"score={result.score:.6g})"
    )
    fields = gradviz.receptive_field(nn.Conv2d(3, 1, 3), torch.rand(3, 9, 9))
    assert "array(" not in repr(fields) and len(repr(fields)) < 1000


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize("how", ["weight norm", "pruning", "spectral norm"])
def test_modules_that_compute_their_weights_are_wrapped(how: str) -> None:
    from torch.nn.utils import prune, spectral_norm, weight_norm

    torch.manual_seed(0)
    conv: nn.Module = nn.Conv2d(3, 2, 3)
    if how == "weight norm":
        conv = weight_norm(conv)
    elif how == "pruning":
        prune.l1_unstructured(conv, "weight", 0.5)  # type: ignore[no-untyped-call]
    else:
        conv = spectral_norm(conv).eval()
    x = torch.from_numpy(X)[None].requires_grad_()
    (expected,) = torch.autograd.grad(conv(x).sum(), x)
    (found,) = gradviz.saliency(nn.Sequential(conv), X, "ones")
    np.testing.assert_allclose(found.array, expected[0].numpy(), rtol=1e-5)


def test_nothing_is_left_under_way_after_a_failure(tmp_path: Path) -> None:
    """The error is kept here, and with it every frame that it passed."""
    np.save(tmp_path / "0.npy", np.full((3, 4, 4), np.nan))
    for n in range(1, 9):
        np.save(tmp_path / f"{n}.npy", X)
    before = set(threading.enumerate())
    with pytest.raises(GradvizError) as kept:
        gradviz.saliency(HalfSquare(), tmp_path / "*.npy", "ones")
    assert set(threading.enumerate()) <= before
    assert kept.value is not None


def test_the_tensors_of_a_pass_that_failed_are_gone_with_its_error() -> None:
    """On a device, the next call needs their memory; the collector may come much later."""
    tensors: list[weakref.ref[Tensor]] = []

    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            tensors.append(weakref.ref(y))
            raise RuntimeError("out of memory")

    gc.collect()
    gc.disable()
    try:
        with suppress(GradvizError):
            gradviz.saliency(Failing(), X, "ones")
        assert tensors
        assert not any(tensor() is not None for tensor in tensors)
    finally:
        gc.enable()
