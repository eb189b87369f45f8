"""`check_gradient` passes what is right, at kinks and ties too, and fails what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradviz.commands.check.gradient_check import check_gradient
from gradviz.errors import ModelError, SeedError
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.model.load import wrap
from gradviz.model.model import in_doubles
from gradviz.runs.schema import CheckDocument
from gradviz.seeds.seed import parse_seed
from tests.helpers.nets import Net

PIXELS = np.random.default_rng(3).uniform(0.1, 0.9, (3, 6, 5)).astype(np.float32)


def image(pixels: np.ndarray = PIXELS) -> LoadedImage:
    return LoadedImage("x.npy", prepare(Picture(pixels, "array"), Preprocess()))


def checked(
    module: nn.Module,
    *seeds: str,
    pixels: np.ndarray = PIXELS,
    precision: str = "float64",
    random_seed: int = 0,
) -> CheckDocument:
    model = wrap(module.eval(), precision=precision)
    return check_gradient(model, image(pixels), [parse_seed(seed) for seed in seeds], random_seed)


# What is right ------------------------------------------------------------------------------------


def test_the_numbers_of_a_square() -> None:
    """y = x² / 2: the gradient is x, and a step t changes the slope by t / 2."""
    found = checked(Net(lambda x: x * x / 2), "ones")
    tests = {test.name: test for test in found.tests}
    strongest = np.sort(PIXELS.astype(float).sum(0).ravel())[::-1]
    by_name = [test for name, test in tests.items() if name.startswith("pixel")]
    assert found.ok and not any(test.kink for test in found.tests)
    assert list(tests)[:4] == ["random 1", "random 2", "random 3", "gradient"]
    assert [test.expected for test in by_name] == pytest.approx(strongest[:3].tolist())
    y, x = divmod(int(PIXELS.sum(0).argmax()), 5)
    assert by_name[0].name == f"pixel {x},{y}"
    g = PIXELS.astype(float)
    assert tests["gradient"].expected == pytest.approx((g * g).sum() / g.max())
    for test in found.tests[:-1]:
        assert test.measured == pytest.approx(test.expected, rel=1e-5, abs=1e-6)
        assert test.error is not None and test.error < found.tolerance == pytest.approx(2**-12)
    assert found.span == pytest.approx(np.ptp(PIXELS))


def test_pixels_without_a_gradient_are_not_tested() -> None:
    found = checked(Net(lambda x: x * x), "pixel:2,1,0")
    assert [test.name for test in found.tests if "pixel" in test.name] == ["pixel 2,1"]


def test_the_trend_of_a_square_ends_where_the_tangent_does() -> None:
    """Along d = x / max x the rise is s·t + Σd²t²/2, so a tenth is off at t = 0.2 · max x."""
    trend = checked(Net(lambda x: x * x / 2), "ones").tests[-1]
    end = 0.2 * float(PIXELS.max())
    assert trend.name == "trend" and trend.ok
    assert trend.step is not None and end / 10 ** (1 / 3) <= trend.step <= end


def test_a_linear_model_is_linear_all_the_way() -> None:
    trend = checked(Net(lambda x: 3 * x), "ones").tests[-1]
    assert trend.step == pytest.approx(np.ptp(PIXELS))
    assert trend.measured == pytest.approx(trend.expected)


def relu_net(bias: bool) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3, padding=1, bias=bias),
        nn.ReLU(),
    )


def attention(x: Tensor) -> Tensor:
    """Softmax, division, square root, and numbers of every size."""
    flat = x.flatten(2)
    weights = (flat.transpose(1, 2) @ flat / flat.shape[1] ** 0.5).softmax(-1)
    lengths: Tensor = (flat @ weights).norm(dim=2)
    return lengths * 1e4


RIGHT: dict[str, Callable[[], nn.Module]] = {
    "ReLU and max pooling": lambda: relu_net(True),
    "softmax": lambda: Net(attention),
    "smooth": lambda: Net(lambda x: F.gelu(3 * x).sin() + x.exp()),
    "dropout that stays on": lambda: Net(lambda x: F.dropout(x * x, 0.5, training=True)),
    "a sum that cancels": lambda: Net(lambda x: (x * x + 1e3) - 1e3),
    "no gradient at all": lambda: Net(lambda x: 0 * x + 1),
    "saturated": lambda: Net(lambda x: torch.sigmoid(100 * x + 30)),
    "steep": lambda: Net(lambda x: 1e12 * x * x),
    "batch statistics": lambda: Net(lambda x: F.batch_norm(x, None, None, training=True) ** 3),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_right_gradients_pass(name: str, precision: str) -> None:
    for random_seed in range(3):
        found = checked(RIGHT[name](), "ones", precision=precision, random_seed=random_seed)
        assert found.ok, found.tests
        assert found.precision == precision


# Kinks --------------------------------------------------------------------------------------------

KINKS: dict[str, tuple[Callable[[], nn.Module], np.ndarray]] = {
    "every ReLU at zero": (lambda: relu_net(False), np.zeros_like(PIXELS)),
    "|x| at 0": (lambda: Net(torch.abs), np.zeros_like(PIXELS)),
    "ties in max pooling": (
        lambda: Net(lambda x: F.max_pool2d(x * x, 2)),
        np.full_like(PIXELS, 0.5),
    ),
    "white, clamped": (lambda: Net(lambda x: x.clamp(0, 1) * 2), np.ones_like(PIXELS)),
    "some at the kink": (
        lambda: Net(lambda x: torch.relu(x - 0.5) * 3),
        np.where(PIXELS < 0.5, np.float32(0.5), PIXELS),
    ),
    "just off the kink": (
        lambda: Net(lambda x: torch.relu(x - 0.5) * 3),
        np.full_like(PIXELS, np.float32(0.5 + 6e-8)),
    ),
}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", KINKS)
def test_kinks_do_not_cry_wolf(name: str, precision: str) -> None:
    module, pixels = KINKS[name]
    found = checked(module(), "ones", pixels=pixels, precision=precision)
    assert found.ok, found.tests


def test_a_kink_is_told() -> None:
    module, pixels = KINKS["every ReLU at zero"]
    found = checked(module(), "ones", pixels=pixels)
    assert any(test.kink for test in found.tests)
    assert not any(test.kink for test in checked(relu_net(True), "ones").tests)


def test_two_kinks_that_make_a_line_have_a_slope() -> None:
    """relu(x) − relu(−x) is x, also at 0, where autograd's two zeros add up to none of it."""
    module = Net(lambda x: x.relu() - (-x).relu())
    found = checked(module, "ones", pixels=np.zeros_like(PIXELS))
    assert [test.ok for test in found.tests[:3]] == [False] * 3
    assert not any(test.kink for test in found.tests)


def test_where_kinks_cancel_in_one_direction_the_others_tell_of_them() -> None:
    """At 0 relu(x) − relu(−x) has a slope that is not its gradient, and |x| none."""

    def both(x: Tensor) -> Tensor:
        a, b = x[:, :1], x[:, 1:2]
        return torch.cat([a.relu() - (-a).relu() + 0.5 * a, b.abs(), 0 * a], 1)

    found = checked(Net(both), "ones", pixels=np.zeros_like(PIXELS))
    assert found.ok and any(test.kink for test in found.tests)


# What rounding hides -----------------------------------------------------------------------------


def test_what_cannot_be_measured_is_neither_right_nor_wrong() -> None:
    for precision in ("float64", "float32"):
        found = checked(Net(lambda x: 1 + 1e-30 * x), "ones", precision=precision)
        assert [test.ok for test in found.tests] == [None] * 7 + [True]
        assert not found.ok


def test_a_seed_of_which_something_was_measured_is_right() -> None:
    def partly(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1] * 2, x[:, 1:2] * 1e-30 + 1], 1)

    found = checked(Net(partly), "channel:0", "channel:1")
    assert not found.ok
    assert checked(Net(partly), "channel:0").ok


def test_a_wrong_gradient_behind_a_large_constant_is_not_right() -> None:
    """Half of the slope is missing, and floats cannot tell."""
    module = Net(lambda x: x + x.detach() + 1e7)
    found = checked(module, "pixel:1,1,0", precision="float32")
    assert not found.ok and not any(test.ok for test in found.tests if test.judged)
    assert any(test.ok is False for test in checked(module, "pixel:1,1,0").tests)


# What is wrong ------------------------------------------------------------------------------------


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.relu()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] / 2


class _Slightly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * 2.001


class _Through(torch.autograd.Function):
    """Rounds to 16 levels, and passes the gradient straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x * 16).round() / 16

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class _ThroughReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.relu()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def applied(function: Any, x: Tensor) -> Tensor:
    y: Tensor = function.apply(x)
    return y


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "a backward pass that halves": lambda x: applied(_Halved, x),
    "a straight-through estimator": lambda x: applied(_Through, x),
    "a ReLU that lets all gradients through": lambda x: applied(_ThroughReLU, x - 0.5),
    "a detached branch": lambda x: x * x + (x.detach() * x.detach()).sin(),
    "a detached gate": lambda x: x * x.detach().sigmoid(),
    "detached, so that the rest is zero": lambda x: 0 * x + x.detach() * 3,
    "a square root at 0": lambda x: (x - x).sqrt() + x,
}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_are_caught(name: str, precision: str) -> None:
    found = checked(Net(WRONG[name]), "ones", precision=precision)
    assert not found.ok


def test_a_gradient_that_is_not_finite_is_no_kink() -> None:
    """√|x − ½| at ½: beside it all is well, but NaN is what the user gets."""
    module = Net(lambda x: (x - 0.5).abs().sqrt())
    found = checked(module, pixels=np.full_like(PIXELS, 0.5))
    assert not any(test.ok for test in found.tests[:-1])


def test_random_numbers_are_those_of_every_run() -> None:
    expected = set()
    for seed in range(3):
        torch.manual_seed(seed)
        expected.add(checked(RIGHT["dropout that stays on"]()).tests[0].expected)
    assert len(expected) == 1


def test_a_straight_through_estimator_of_many_pixels_is_caught() -> None:
    """Over long steps its roundings even out, and the trend is the gradient."""
    pixels = np.random.default_rng(0).random((3, 64, 64)).astype(np.float32)
    for precision in ("float64", "float32"):
        through = Net(WRONG["a straight-through estimator"])
        found = checked(through, pixels=pixels, precision=precision)
        assert not found.ok, precision


@pytest.mark.parametrize("how", [torch.floor, torch.ceil, torch.round])
@pytest.mark.parametrize("levels", [255, 51])
def test_a_straight_through_estimator_that_leaps_at_the_image_is_caught(
    how: Callable[[Tensor], Tensor], levels: int
) -> None:
    """An 8-bit image lies where floor and ceil leap, and that looks like noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16)).astype(np.float32) / 255
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 1)).double()
    net.requires_grad_(False)

    def through(x: Tensor) -> Tensor:
        y: Tensor = net(x + (how(x * levels) / levels - x).detach())
        return y.mean((2, 3))

    found = checked(Net(through), pixels=pixels)
    assert any(test.ok is False for test in found.tests)


class _Half(torch.autograd.Function):
    """x², whose gradient is half of the right one where the first value is at most a bound."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradients[0] * x * (1 if float(x.flatten()[0]) <= ctx.bound else 2), None


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_smooth_function_is_not_excused_by_the_gradient_beside_the_image(precision: str) -> None:
    bound = float(PIXELS.flatten()[0]) + 1e-4
    half = Net(lambda x: _Half.apply(x, bound))  # type: ignore[no-untyped-call]
    found = checked(half, "ones", precision=precision)
    gradient = next(test for test in found.tests if test.name == "gradient")
    assert gradient.ok is False and gradient.expected is not None
    assert gradient.measured == pytest.approx(2 * gradient.expected, rel=1e-3)


class _OneSided(torch.autograd.Function):
    """relu(x), whose gradient is right where the first value is positive."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        right: Tensor = gradients[0] * (x > 0)
        return right if float(x.flatten()[0]) > 0 else 3 * right


def test_several_places_beside_a_kink_are_tried() -> None:
    """Half of them lie where the gradient is wrong."""
    for random_seed in range(6):
        found = checked(
            Net(lambda x: applied(_OneSided, x)), "ones",
            pixels=np.zeros_like(PIXELS), random_seed=random_seed,
        )  # fmt: skip
        assert found.ok, random_seed


def test_doubles_notice_a_twentieth_of_a_percent() -> None:
    wrong = Net(lambda x: applied(_Slightly, x))
    assert not checked(wrong, "ones").ok
    found = checked(wrong, "ones", precision="float32")
    assert all(test.ok for test in found.tests)
    assert not found.ok and found.unproven == ["_Slightly"]


def test_a_wrong_gradient_of_one_seed_only() -> None:
    """Channel 1 is wrong; a seed on channel 0 has nothing to do with it."""

    def half_wrong(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1] ** 2, x[:, 1:2] * x[:, 1:2].detach(), x[:, 2:]], 1)

    found = checked(Net(half_wrong), "channel:0", "channel:1", "channel:2")
    failed = {test.seed for test in found.tests if not test.ok}
    assert failed == {"channel:1"}


# Seeds, precision, refusals -----------------------------------------------------------------------


def test_seeds_that_depend_on_the_output_stay_as_they_are_at_the_image() -> None:
    """Two channels that cross 1e-9 below the image: the seed must not follow the winner."""
    at_the_image = torch.from_numpy(PIXELS).double().sum(0)

    def crossing(x: Tensor) -> Tensor:
        y = x.sum(1, keepdim=True)
        return torch.cat([y, 2 * y - at_the_image + 1e-9], 1)

    found = checked(Net(crossing), "top", "predicted:1")
    assert found.ok and not any(test.kink for test in found.tests)
    assert found.tests[3].expected == pytest.approx(2 * PIXELS.size)


def test_the_default_seed_is_that_of_the_layout() -> None:
    dense = checked(Net(lambda x: x * 2))
    scores = checked(Net(lambda x: x.mean((2, 3)) ** 2))
    assert {test.seed for test in dense.tests} == {"ones"}
    assert {test.seed for test in scores.tests} == {"top"}


def test_an_infinite_output_that_is_not_asked_does_no_harm() -> None:
    def infinite(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1] * 2, x[:, 1:2] / 0 * 0 + float("inf")], 1)

    assert checked(Net(lambda x: torch.cat([x * 2, x.detach() / 0], 1)), "channel:0").ok
    assert not checked(Net(infinite), "channel:1").ok


def test_a_cast_on_the_way_makes_the_steps_longer() -> None:
    """As in layers that take their softmax in float32 whatever the rest is."""
    found = checked(Net(lambda x: (x.float() * 3).softmax(1).to(x.dtype) ** 2), "channel:0")
    assert found.ok and found.precision == "float32"
    wrong = checked(Net(lambda x: x.float().detach().to(x.dtype) * x.float().to(x.dtype)), "ones")
    assert not wrong.ok and wrong.precision == "float32"


def test_a_blank_image_has_a_span_too() -> None:
    found = checked(Net(lambda x: x.exp()), pixels=np.full_like(PIXELS, 0.25))
    assert found.ok and found.span == 1


def test_the_random_directions_are_those_of_the_random_seed() -> None:
    first, again, other = (
        checked(Net(torch.exp), "ones", random_seed=seed).tests[0].expected for seed in (1, 1, 2)
    )
    assert first == again != other


def test_misfits_and_failures_keep_their_own_errors() -> None:
    with pytest.raises(SeedError, match="0 to 4"):
        checked(Net(lambda x: x * 2), "pixel:5,0")
    with pytest.raises(ModelError, match="cannot be differentiated"):
        checked(Net(lambda x: x.argmax(1).float()))

    def inplace(x: Tensor) -> Tensor:
        return x.exp().add_(1)

    with pytest.raises(ModelError, match="backward pass failed"):
        checked(Net(inplace))


def test_in_doubles() -> None:
    model = in_doubles(wrap(relu_net(True)))
    assert model.dtype == torch.float64
    assert check_gradient(model, image(), ()).precision == "float64"


def test_a_frozen_script_stays_in_floats_and_is_still_judged() -> None:
    scripted: Any = torch.jit.script(relu_net(True).eval())
    frozen = torch.jit.freeze(scripted)
    model = in_doubles(wrap(frozen))
    assert model.dtype == torch.float32
    found = check_gradient(model, image(), ())
    assert found.ok and found.precision == "float32"
