"""Numbers that are none, too small or too large, and models that change while they are used."""
# Annotations are values here, for TorchScript reads those of attributes.

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from gradviz.heatmap.colours import NONFINITE
from gradviz.heatmap.views import VIEWS
from tests.helpers.commands import OUT, Gradviz, lines
from tests.helpers.formats import save, script
from tests.helpers.nets import Net

Fails = Callable[..., str]


def saved(net: nn.Module, name: str) -> str:
    save(net.eval(), torch.rand(1, 3, 4, 4), Path(), name)
    return name


def image(count: int = 1) -> list[str]:
    names = [f"{n}.npy" for n in range(count)]
    for n, name in enumerate(names):
        np.save(name, np.random.default_rng(n).random((3, 4, 4), np.float32))
    return names


# Values -------------------------------------------------------------------------------------------


def scaled(weight: float, first: float | None = None) -> nn.Module:
    """1×1 convolution, all of whose weights are one number, but for the first."""
    conv = nn.Conv2d(3, 2, 1, bias=False)
    conv.weight.data.fill_(weight)
    conv.weight.data[0, 0] = weight if first is None else first
    return conv


FLAT = "x * 0 + 1"
"""Whatever enters, 1 comes out, and autograd knows of the input."""
DROPS = "torch.dropout(x, 0.5, True)"

GRADIENTS = "of the gradient are NaN or Inf"
SCORE = "the score is NaN or Inf"
BLANK = "the gradient is zero everywhere"

FAULTS: dict[str, tuple[nn.Module | str, int, set[str]]] = {
    "NaN among the weights": (scaled(1.0, float("nan")), 16, {GRADIENTS, SCORE}),
    "Inf among the weights": (scaled(1.0, float("inf")), 16, {GRADIENTS, SCORE}),
    "NaN in the output": ("x * float('nan')", 48, {GRADIENTS, SCORE}),
    "Inf in the output": ("x + float('inf')", 0, {SCORE}),
    "Inf in the gradient": ("(x - x).sqrt() + x", 48, {GRADIENTS}),
    "weights that are denormal": (scaled(1e-41), 0, set()),
    "weights whose sums overflow": (scaled(1.6e38), 0, {SCORE}),
    "weights that vanish": (scaled(0.0), 0, {BLANK}),
    "a constant output": (FLAT, 0, {BLANK}),
}
"""A model, how many of the 48 values of its gradient are not finite, and what is said."""


@pytest.mark.parametrize("case", FAULTS)
def test_values_are_counted_and_told(case: str, gradviz: Gradviz) -> None:
    """Drawn in every view, without a warning of NumPy's, in strict JSON, exit 0."""
    module, nonfinite, told = FAULTS[case]
    views = [word for view in VIEWS for word in ("--view", view)]
    result = gradviz(
        "saliency", script(module, "model.ts"), *image(), "--seed", "ones", *views, "-q"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    (line,) = lines()
    assert line["stats"]["nonfinite"] == nonfinite
    assert len(line["warnings"]) == len(told)
    assert all(any(piece in warning for warning in line["warnings"]) for piece in told)
    for view in VIEWS:
        pixels = np.asarray(Image.open(OUT / line["files"][view]).convert("RGB"))
        green = (pixels == NONFINITE).all(axis=-1).sum()
        assert green == (16 if nonfinite else 0), view


@pytest.mark.parametrize("case", FAULTS)
def test_an_expectation_notices(case: str, gradviz: Gradviz) -> None:
    module, nonfinite, _ = FAULTS[case]
    words = ["--seed", "ones", "--expect", "nonfinite==0", "-q"]
    result = gradviz("saliency", script(module, "model.ts"), *image(), *words)
    assert result.exit_code == (6 if nonfinite else 0)
    assert len(result.stderr.splitlines()) == (1 if nonfinite else 0)


@pytest.mark.parametrize("scale", [1e-41, 1.6e38])
def test_a_gradient_of_any_size_has_a_picture(scale: float, gradviz: Gradviz) -> None:
    """That of a gradient of ones, which is of full strength everywhere."""
    image()
    pictures = []
    for weight in (1.0, scale):
        model = script(scaled(weight), "model.ts")
        gradviz("saliency", model, "0.npy", "--seed", "ones", "--view", "heatmap", "--overwrite")
        pictures.append(np.asarray(Image.open(OUT / "0.npy/ones/heatmap.png").convert("RGB")))
    assert np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", ["npy", "pt"])
def test_an_input_that_is_not_finite_is_refused(value: float, suffix: str, fails: Fails) -> None:
    pixels = np.zeros((3, 4, 4), np.float32)
    pixels[1, 2, 3] = value
    np.save("x.npy", pixels)
    torch.save(torch.from_numpy(pixels), "x.pt")
    said = fails(2, script(FLAT, "model.ts"), f"x.{suffix}")
    assert "1 values are NaN or infinite" in said


def test_a_denormal_input_is_a_number(gradviz: Gradviz) -> None:
    np.save("x.npy", np.full((3, 4, 4), 1e-42, np.float32))
    result = gradviz("saliency", script(scaled(2.0), "model.ts"), "x.npy", "--seed", "ones", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (np.load(OUT / "x.npy/ones/gradient.npy") == 4).all()


def test_an_output_that_does_not_know_the_input(fails: Fails) -> None:
    (name,) = image()
    assert "cannot be differentiated" in fails(
        3, script("torch.ones(1, 4).requires_grad_() * 2", "model.ts"), name
    )


# Models that change -------------------------------------------------------------------------------

ANOTHER = "the model answers otherwise when it is called again"


def noisy(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


class Ages(nn.Module):
    """Remembers in a Python attribute, which cannot be put back."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Shrinks(Ages):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x[..., : x.shape[-1] - self.calls % 2]


class Breaks(Ages):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x / (self.calls - 1) if self.calls % 2 else x


@pytest.mark.parametrize(
    ("module", "how"),
    [
        (Net(partial(F.dropout, p=0.5, training=True)), "the output changes by"),
        (Net(noisy), "the output changes by 0."),
        (Ages(), "the output changes by 2.9, with values up to 0.98;"),  # in the fourth call
        (Shrinks(), "the output is [2, 3, 4, 3], then [2, 3, 4, 4];"),
        (Breaks(), "other values are NaN or Inf"),
    ],
)
def test_an_answer_that_changes_is_warned_of(module: nn.Module, how: str, gradviz: Gradviz) -> None:
    """Once per image, and found out once per run."""
    words = ["--trust", "--no-optimize", "--batch-size", "2", "--seed", "ones"]
    result = gradviz("saliency", saved(module, "pickled.pt"), *image(3), *words)
    assert result.exit_code == 0
    assert result.stderr.count(f"{ANOTHER}: {how}") == 3
    assert all(any(ANOTHER in each for each in line["warnings"]) for line in lines())


@pytest.mark.parametrize("name", ["scripted.ts", "pickled.pt", "frozen.ts", "program.pt2"])
def test_an_answer_that_stays_is_not(name: str, gradviz: Gradviz) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout())
    result = gradviz("saliency", saved(module, name), *image(3), "--trust", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    assert not any(ANOTHER in each for line in lines() for each in line["warnings"])


def test_random_numbers_of_the_extra_call_change_nothing(gradviz: Gradviz) -> None:
    """The gradient of dropout is that of the first draw after the seed, as documented."""
    (name,) = image()
    gradviz("saliency", script(DROPS, "model.ts"), name, "--seed", "ones")
    torch.manual_seed(0)
    x = torch.from_numpy(np.load(name))[None].requires_grad_()
    (expected,) = torch.autograd.grad(F.dropout(x, 0.5, training=True).sum(), x)
    assert np.array_equal(np.load(OUT / name / "ones/gradient.npy"), expected[0].numpy())


class Counts(nn.Module):
    """Its gradient is the number of calls, kept in two buffers: one written to, one replaced."""

    written: Tensor
    replaced: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("written", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.written += 1
        self.replaced = self.replaced + 1
        return x * (self.written + self.replaced)


class Adapts(nn.Module):
    """Follows running statistics in eval mode, and normalises by them afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        F.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=True)
        y: Tensor = self.norm(x)
        return y


@pytest.mark.parametrize("name", ["scripted.ts", "pickled.pt", "frozen.ts", "program.pt2"])
@pytest.mark.parametrize("options", [[], ["--no-optimize"]])
def test_buffers_that_a_model_changes_are_put_back(
    name: str, options: list[str], gradviz: Gradviz
) -> None:
    """Every image of a long run meets the model that was loaded."""
    words = ["--trust", "--batch-size", "1", "--seed", "ones", "-q"]
    names = image(3)
    result = gradviz("saliency", saved(Counts(), name), *names, *words, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert not any(line["warnings"] for line in lines())
    for name in names:
        assert (np.load(OUT / name / "ones/gradient.npy") == 2).all()


@pytest.mark.parametrize("name", ["scripted.ts", "pickled.pt"])
def test_running_statistics_are_put_back(name: str, gradviz: Gradviz) -> None:
    """An image has the gradient that it has alone."""
    words = ["--trust", "--batch-size", "1", "--seed", "ones", "-q"]
    model, names = saved(Adapts(), name), image(3)
    gradviz("saliency", model, *names, *words)
    gradviz("saliency", model, names[-1], *words, "-o", "alone")
    together, alone = (
        np.load(Path(out) / names[-1] / "ones/gradient.npy") for out in (OUT, "alone")
    )
    assert np.array_equal(together, alone)


@pytest.mark.parametrize(
    "command", [["check"], ["inspect"], ["receptive-field", "-o", "field"]], ids=lambda c: c[0]
)
def test_other_commands_meet_the_model_that_was_loaded(
    command: list[str], gradviz: Gradviz
) -> None:
    (name,) = image()
    result = gradviz(command[0], script(Counts(), "model.ts"), name, *command[1:], "-q")
    assert (result.exit_code, result.stderr) == (0, "")
