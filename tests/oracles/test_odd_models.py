"""Models that break a habit: each has its right gradient, or fails in one line and alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

import gradviz as package
from gradviz.errors import ModelError, UsageError
from tests.helpers import nets
from tests.helpers.commands import Gradviz, failed, gradient, lines, statuses
from tests.helpers.formats import NEED_TRUST, save, script

HOT = 0.95
"""What a pixel of an image that offends must exceed."""


def photos(folder: Path, *offending: int, count: int = 3) -> np.ndarray:
    """`0.npy`, `1.npy`, … [3, 4, 5] in a folder of their own; some with a hot pixel."""
    folder.mkdir()
    pixels = np.random.default_rng(0).uniform(0.1, 0.9, (count, 3, 4, 5)).astype(np.float32)
    for n in offending:
        pixels[n, 0, 0, 0] = 1
    for n, each in enumerate(pixels):
        np.save(folder / f"{n}.npy", each)
    return pixels


def saved(net: nn.Module, name: str) -> list[str]:
    """The network in the current folder, as the command line names it."""
    save(net.eval(), torch.rand(1, 3, 4, 5), Path(), name)
    return [name, "--trust"] if name in NEED_TRUST else [name]


# What raises --------------------------------------------------------------------------------------


class Overwrites(nn.Module):
    """Adds in place to what exp() kept for the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.exp()
        return y.add_(1)


class _Refusal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.hot = bool(x.max() > HOT)
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        if ctx.hot:
            raise ValueError("no way\nback")
        return 2 * gradients[0]


class Refuses(nn.Module):
    """Its own backward pass raises where a pixel is hot."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Refusal.apply(x)  # type: ignore[no-untyped-call]
        return y


class Burns(nn.Module):
    """Its forward pass raises where a pixel is hot."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.max()) > 0.95:
            raise ValueError("too hot")
        return x * x / 2


@pytest.mark.parametrize(
    ("module", "name", "says"),
    [
        (Overwrites(), "scripted.ts", "inplace operation"),
        (Overwrites(), "pickled.pt", "inplace operation"),
        (Refuses(), "pickled.pt", "ValueError: back"),
    ],
)
def test_a_backward_pass_that_raises(
    module: nn.Module, name: str, says: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    photos(tmp_path / "photos", 0, count=1)
    seeds = ["--seed", "ones", "--seed", "channel:0"]
    result = gradviz("saliency", *saved(module, name), "photos/0.npy", *seeds)
    failed(result, 3, "0.npy", "the backward pass failed", says)
    assert [(line["seed"], line["error"]["type"]) for line in lines()] == [
        ("ones", "ModelError"),
        ("channel:0", "ModelError"),
    ]


@pytest.mark.parametrize("batch_size", ["1", "3"])
def test_an_image_whose_backward_pass_raises_leaves_the_others_done(
    batch_size: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    photos(tmp_path / "photos", 1)
    model = saved(Refuses(), "pickled.pt")
    result = gradviz("saliency", *model, "photos/*.npy", "--batch-size", batch_size)
    assert result.exit_code == 4 and "Traceback" not in result.stderr
    assert statuses() == {"0.npy": "ok", "1.npy": "error", "2.npy": "ok"}
    assert (gradient("0.npy") == 2).all() and (gradient("2.npy") == 2).all()


@pytest.mark.parametrize("name", ["scripted.ts", "pickled.pt"])
def test_an_image_that_makes_the_model_raise_leaves_the_rest_of_its_batch_done(
    name: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    pixels = photos(tmp_path / "photos", 1)
    result = gradviz("saliency", *saved(Burns(), name), "photos/*.npy")
    assert result.exit_code == 4, result.stderr
    assert result.stderr.count("too hot") == 1
    assert statuses() == {"0.npy": "ok", "1.npy": "error", "2.npy": "ok"}
    for n in (0, 2):
        assert np.array_equal(gradient(f"{n}.npy"), pixels[n])


def test_a_gradient_that_leads_elsewhere_than_to_the_image() -> None:
    own = torch.ones(1, requires_grad=True)
    with pytest.raises(ModelError, match="cannot be differentiated"):
        package.saliency(nets.Net(lambda x: x.detach() * own), torch.rand(3, 4, 5))


# What is odd, and has a gradient all the same -----------------------------------------------------


class InPlace(nn.Module):
    """(x - 1/2)², where the subtraction writes into the caller's tensor."""

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5)
        return x * x


@pytest.mark.parametrize("name", ["pickled.pt", "scripted.ts", "program.pt2"])
@pytest.mark.parametrize("method", ["gradient", "input-x-gradient"])
def test_a_model_that_writes_into_its_input(method: str, name: str, tmp_path: Path) -> None:
    x = torch.rand(3, 4, 5)
    before = x.clone()
    folder = save(InPlace(), x[None].clone(), tmp_path, name)
    model = package.load_model(folder / name, trust=True)
    expected = 2 * (before - 0.5) * (before if method == "input-x-gradient" else 1)
    for result in package.saliency(model, x, ["ones", "channel:1"], method=method):
        channels = slice(None) if result.seed == "ones" else slice(1, 2)
        np.testing.assert_allclose(result.array[channels], expected[channels], atol=1e-6)
    assert torch.equal(x, before)


def test_what_draws_random_numbers_draws_the_same_in_every_run(
    gradviz: Gradviz, tmp_path: Path
) -> None:
    photos(tmp_path / "photos")
    model = script("torch.dropout(x, 0.5, True)", tmp_path / "drops.ts")
    for state, out in enumerate(("a", "b")):
        torch.manual_seed(state)  # what the process has drawn before does not matter
        command = ["saliency", model, "photos/*.npy", "--batch-size", "1", "-o", out, "--resume"]
        assert gradviz(*command).exit_code == 0
    whole = [gradient(f"{n}.npy", out="a") for n in range(3)]
    assert {0.0, 2.0} == set(np.unique(whole))
    assert all(np.array_equal(gradient(f"{n}.npy", out="b"), whole[n]) for n in range(3))
    Path("b/1.npy/ones/gradient.npy").unlink()  # the first and the last stay: only one pass is run
    torch.manual_seed(9)
    assert gradviz(*command).exit_code == 0
    assert np.array_equal(gradient("1.npy", out="b"), whole[1])


def test_the_callers_random_numbers_stay_as_they_were() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    package.saliency(
        nets.Net(lambda x: F.dropout(x, 0.5, training=True)), np.ones((3, 4, 5), np.float32)
    )
    assert torch.equal(torch.rand(4), expected)


def test_a_model_for_one_image_at_a_time_takes_a_folder(gradviz: Gradviz, tmp_path: Path) -> None:
    pixels = photos(tmp_path / "photos")
    model = script("x.reshape(1, -1) ** 2 / 2", tmp_path / "one.ts")
    result = gradviz("saliency", model, "photos/*.npy", "--seed", "ones")
    assert result.exit_code == 0, result.stderr
    for n in range(3):
        assert np.array_equal(gradient(f"{n}.npy"), pixels[n])


SQUEEZED = nets.Net(lambda x: (x * x / 2).sum(1).squeeze())


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (SQUEEZED, (4, 5)),
        (nets.Net(lambda x: (x * x / 2).sum().squeeze()), ()),
    ],
)
def test_an_output_that_lost_the_axis_of_its_one_image(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).random((3, 4, 5), np.float32)
    (result,) = package.saliency(module, x, "ones")
    assert result.output_shape == shape
    assert np.array_equal(result.array, x)
    assert result.score == pytest.approx(float((x * x).sum() / 2), rel=1e-6)


def test_a_squeezed_map_has_its_pixels() -> None:
    x = np.random.default_rng(0).random((3, 4, 5), np.float32)
    (result,) = package.saliency(SQUEEZED, x, "pixel:3,1")
    expected = np.zeros_like(x)
    expected[:, 1, 3] = x[:, 1, 3]
    assert np.array_equal(result.array, expected)


def test_a_score_is_summed_in_double_precision() -> None:
    """In float32, 2²⁴ + 1 is 2²⁴."""
    x = np.array([[[2**24, 1]]], np.float32)
    (result,) = package.saliency(nn.Identity(), x, "ones")
    assert result.score == 2**24 + 1


# Where training code leaves the weights -----------------------------------------------------------


def tripled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Other weights, so that a mix-up shows."""
    return {name: 3 * tensor for name, tensor in state.items()}


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


def both(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**prefixed("model", state), **prefixed("ema", tripled(state))}


STATE = nets.scores().state_dict()

CHECKPOINTS: dict[str, tuple[object, str | None, int]] = {
    "AveragedModel": (AveragedModel(nets.scores()).state_dict(), None, 1),
    "AveragedModel inside": ({"state_dict": AveragedModel(nets.scores()).state_dict()}, None, 1),
    "state_dict_ema": ({"state_dict_ema": STATE, "epoch": 3}, None, 1),
    "shadow": ({"ema": {"shadow": STATE, "decay": 0.9}}, None, 1),
    "first of two": (both(STATE), "model", 1),
    "second of two": (both(STATE), "ema", 3),
    "first of two, nested": ({"state_dict": both(STATE), "epoch": 3}, "state_dict.model", 1),
    "second of two, nested": ({"state_dict": both(STATE), "epoch": 3}, "state_dict.ema", 3),
    "deeper": (prefixed("a", both(STATE)), "a.ema", 3),
    "a dict of two": ({"model": STATE, "ema": tripled(STATE)}, "ema", 3),
}
"""What a file holds, the --weights-key, and by what the weights that are meant are multiplied."""


@pytest.mark.parametrize(
    "name",
    CHECKPOINTS,
)
def test_a_checkpoints_weights_are_found(name: str, tmp_path: Path) -> None:
    content, key, factor = CHECKPOINTS[name]
    torch.save(content, tmp_path / "weights.pt")
    net = nets.scores()
    net.load_state_dict({name: factor * tensor for name, tensor in STATE.items()})
    torch.manual_seed(0)
    x = torch.rand(3, 9, 9)
    leaf = x[None].clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(leaf)[0, 1], leaf)
    model = package.load_model(
        tmp_path / "weights.pt", arch="tests.helpers.nets:scores", weights_key=key
    )
    (result,) = package.saliency(model, x, "class:1")
    np.testing.assert_allclose(result.array, expected[0], rtol=1e-5, atol=1e-8)


def test_the_weights_key_reaches_the_model_from_the_command_line(
    gradviz: Gradviz, tmp_path: Path
) -> None:
    torch.save({"model": STATE, "other": tripled(STATE)}, tmp_path / "weights.pt")
    x = np.random.default_rng(0).random((3, 9, 9), np.float32)
    np.save(tmp_path / "x.npy", x)
    arch = ["--arch", f"{Path(nets.__file__)}:scores", "--seed", "class:1"]
    keys = {"default": [], "other": ["--weights-key", "other"]}
    for out, option in keys.items():
        assert gradviz("saliency", "weights.pt", "x.npy", *arch, *option, "-o", out).exit_code == 0
    net = nets.scores()
    for out, state in (("default", STATE), ("other", tripled(STATE))):
        net.load_state_dict(state)
        leaf = torch.from_numpy(x)[None].requires_grad_()
        (expected,) = torch.autograd.grad(net(leaf)[0, 1], leaf)
        found = gradient("x.npy", "class-1", out)
        np.testing.assert_allclose(found, expected[0], rtol=1e-5, atol=1e-8)


def test_a_weights_key_that_is_not_there(tmp_path: Path) -> None:
    torch.save(both(STATE), tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r"no weights under 'mod'.*--weights-key"):
        package.load_model(
            tmp_path / "weights.pt", arch="tests.helpers.nets:scores", weights_key="mod"
        )
