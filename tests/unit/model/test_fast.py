"""The faster form of a model: the same numbers, up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradviz.backward.graph import kind_of, nodes_of
from gradviz.errors import ModelError
from gradviz.image.preprocess import Preprocess
from gradviz.model import fast
from gradviz.model.fast import optimised, optimised_for
from gradviz.model.load import load_model, wrap
from gradviz.model.model import Model


def gradient(model: Model, x: Tensor) -> Tensor:
    x = x.to(model.dtype).requires_grad_()
    y = model(x)
    torch.manual_seed(3)
    return torch.autograd.grad(y, x, torch.randn(y.shape).to(y.dtype))[0]


def norms(model: Model, x: Tensor) -> int:
    """Batch norms that a pass runs."""
    y = model(x.to(model.dtype).requires_grad_())
    return sum(kind_of(node).endswith("BatchNorm") for node in nodes_of(y))


def settled(net: nn.Module) -> nn.Module:
    """Running statistics that are not those of a fresh network."""
    for _ in range(3):
        net(torch.rand(4, 3, 16, 16) * 2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.3, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return net.eval()


class Random(nn.Module):
    """A residual network, its widths and kernels drawn."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        width, depth = int(torch.randint(4, 24, ())), int(torch.randint(2, 6, ()))
        self.stem = nn.Conv2d(3, width, 3, 2, 1, bias=bool(seed % 2))
        self.first = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 1 + 2 * (n % 2), padding=n % 2, groups=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1),
                nn.BatchNorm2d(width),
            )
            for n in range(depth)
        )
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(self.stem(x)))
        for block in self.blocks:
            x = torch.relu(x + block(x))
        y: Tensor = self.head(x)
        return y


def test_as_accurate_as_the_plain_pass() -> None:
    """The median error against float64 over 16 networks and inputs: at most twice the plain one."""
    plain, faster = [], []
    for seed in range(16):
        net = settled(Random(seed))
        x = torch.rand(2, 3, 24, 20)
        model = wrap(net)
        exact = gradient(wrap(net, precision="float64"), x.double())
        errors = [
            float((gradient(each, x) - exact).norm() / exact.norm())
            for each in (model, optimised(model, x[:1]))
        ]
        assert norms(model, x) and not norms(optimised(model, x[:1]), x)
        plain.append(errors[0])
        faster.append(errors[1])
    assert 0 < median(faster) <= 2 * median(plain)


class ConvNorm(nn.Module):
    """A convolution and its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)


class Shared(nn.Module):
    """One convolution under two names of one norm each, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.a, self.b = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(self.a(x)) + self.b(x)
        for _ in range(2):
            x = torch.relu(self.norm(self.again(x)))
        return x


class Tied(nn.Module):
    """Two convolutions with one weight, of which one is followed by a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.other = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.other.weight = self.stem.weight
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.other(torch.relu(self.norm(self.stem(x))))
        return y


class Statistics(nn.Module):
    """Norms that have no running statistics, no weights, or an output that is seen before."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.batch = nn.BatchNorm2d(4, track_running_stats=False)
        self.second = nn.Conv2d(4, 4, 3)
        self.bare = nn.BatchNorm2d(4, affine=False)
        self.third = nn.Conv2d(4, 4, 3)
        self.seen = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.batch(self.first(x)))
        x = torch.relu(self.bare(self.second(x)))
        x = self.third(x)
        y: Tensor = self.seen(x) * torch.sigmoid(x)
        return y


class Depends(ConvNorm):
    """Its way depends on the values, so that it cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y if x.mean() > 0 else -y


class Looks(ConvNorm):
    """Looks into how its tensors lie in memory."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        (first, *_) = self.norm.buffers()
        return x.view(len(x), -1) * first.mean()


class Hooked(ConvNorm):
    """What a hook makes of a convolution's output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv.register_forward_hook(_doubled)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


def _doubled(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return 2 * output


class Alias(nn.Module):
    """One convolution under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.features = nn.Sequential(self.stem, nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.features(x)
        return y


class PyList(ConvNorm):
    """A convolution that is called by a name of Python's own."""

    def __init__(self) -> None:
        super().__init__()
        self.others = {"conv": self.conv}

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.others["conv"](x))
        return y


class Reads(ConvNorm):
    """Uses its convolution's weights once more, or the norm's."""

    def __init__(self, which: str = "bias") -> None:
        super().__init__()
        self.which = which

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        if self.which == "bias":
            bias = self.conv.get_parameter("bias")
            return y * bias[:, None, None]
        return y + nn.functional.conv2d(x, self.conv.weight)


class Method(ConvNorm):
    """Calls its convolution as a module, and once by its method."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x)) + self.conv.forward(x)
        return y


class Asks(ConvNorm):
    """Takes another way where it is given no tensor, as when it is traced."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z: Tensor = self.norm(y)
        return z + y if isinstance(y, Tensor) else z


class Counts(ConvNorm):
    """Remembers how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        (seen,) = self.buffers(recurse=False)
        seen += 1
        y: Tensor = self.norm(self.conv(x)) * seen
        return y


class Trains(ConvNorm):
    """Switches its norm to batch statistics."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm.train()(self.conv(x))
        self.norm.eval()
        return y


LEFT: dict[Callable[[], nn.Module], int] = {
    Shared: 4, Tied: 0, Statistics: 2, Depends: 1, Looks: 1, Hooked: 1,
    Alias: 0, PyList: 0, Reads: 1, partial(Reads, "weight"): 1, Method: 1, Asks: 1, Counts: 0,
    Trains: 1,
}  # fmt: skip
"""Networks, and how many batch norms run in their faster form."""


@pytest.mark.parametrize("net", LEFT)
def test_only_what_may_be_folded_is(net: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = wrap(settled(net()), precision="float64")
    x = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    faster = optimised(model, x[:1])
    torch.testing.assert_close(faster(x), model(x), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient(faster, x), gradient(model, x), rtol=1e-9, atol=1e-12)
    assert norms(faster, x) == LEFT[net]


def test_a_model_that_cannot_be_copied_runs_as_it_is() -> None:
    model = wrap(settled(Hooked()))
    vars(model.module)["lines"] = (each for each in "ab")  # which cannot be copied
    assert optimised(model, torch.rand(1, 3, 8, 8)) is model


def test_an_input_on_which_the_faster_form_fails_changes_nothing_for_others() -> None:
    """The same input gives the same numbers, whatever came before it."""

    torch.manual_seed(0)
    model = wrap(settled(Random(3)))
    x = torch.rand(2, 3, 16, 16)
    faster = optimised(model, x[:1])
    before = gradient(faster, x)
    with pytest.raises(ModelError):
        faster(torch.rand(1, 5, 16, 16))
    assert torch.equal(gradient(faster, x), before)


def test_the_given_model_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model = wrap(settled(Tied()))
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    x = torch.rand(1, 3, 8, 8)
    optimised(model, x)(x)
    after = model.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.module.get_parameter("stem.weight").is_contiguous()


@pytest.mark.parametrize("kind", ["script", "trace", "freeze"])
def test_torchscript(kind: str, tmp_path: Path) -> None:
    net = settled(Random(5)).double() if kind != "freeze" else settled(Random(5))
    example = torch.rand(2, 3, 12, 12, dtype=torch.float64 if kind != "freeze" else torch.float32)
    make: Any = {"trace": partial(torch.jit.trace, example_inputs=example)}
    module = make.get(kind, torch.jit.script)(net)
    torch.jit.save(torch.jit.freeze(module) if kind == "freeze" else module, tmp_path / "m.ts")
    precision = "float32" if kind == "freeze" else "float64"
    model = load_model(tmp_path / "m.ts", precision=precision)
    faster = optimised(model, example[:1])
    tolerance = 1e-4 if kind == "freeze" else 1e-9
    for _ in range(5):
        x = torch.rand(2, 3, 12, 12).to(model.dtype)
        torch.testing.assert_close(faster(x), model(x), rtol=tolerance, atol=tolerance)
        close = (gradient(faster, x) - gradient(model, x)).norm() / gradient(model, x).norm()
        assert close < tolerance
    assert (norms(model, x) == 0) == (kind == "freeze")
    assert norms(faster, x) == 0


class Gate(nn.Module):
    """A gate that no gradient is to pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y * torch.sigmoid(y).detach()


class StraightThrough(nn.Module):
    """Rounds forward, and passes the gradient as if it had not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x)) * 5
        return y + (torch.round(y) - y).detach()


class Teacher(nn.Module):
    """One of its two branches is computed without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.norm(self.teacher(x))
        y: Tensor = self.student(x) * target
        return y


class SeldomDetached(nn.Module):
    """Passes no gradient through its gate if the image is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        gate = torch.sigmoid(y)
        if bool(x.mean() > 10):
            gate = gate.detach()
        return y * gate


class SeldomWithoutGradient(nn.Module):
    """The same, by a block without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        gate = torch.sigmoid(y)
        if bool(x.mean() > 10):
            with torch.no_grad():
                gate = torch.sigmoid(y)
        return y * gate


@pytest.mark.parametrize("net", [SeldomDetached, SeldomWithoutGradient])
def test_a_branch_that_the_trial_does_not_take_stops_its_gradient(
    net: Callable[[], nn.Module], tmp_path: Path
) -> None:
    """Freezing would let it through there; the trial is on input of [0, 1]."""
    torch.manual_seed(0)
    torch.jit.save(torch.jit.script(settled(net())), tmp_path / "m.ts")
    model = load_model(tmp_path / "m.ts", precision="float64")
    x = torch.rand(1, 3, 12, 12, dtype=torch.float64)
    faster = optimised(model, x)
    for bright in (0, 20):
        expected = gradient(model, x + bright)
        torch.testing.assert_close(gradient(faster, x + bright), expected, rtol=1e-9, atol=1e-12)


GRADIENTS: list[Callable[[], nn.Module]] = [
    *(partial(Random, seed) for seed in range(10)), Gate, StraightThrough, Teacher, Tied, Alias,
]  # fmt: skip
FORMATS = ("eager", "script", "trace", "frozen script", "frozen trace")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("net", GRADIENTS)
def test_the_gradient_is_that_of_the_model(
    net: Callable[[], nn.Module], kind: str, tmp_path: Path
) -> None:
    """75 cases; freezing by hand drops detach() before gradviz sees the model."""
    torch.manual_seed(0)
    made = settled(net())
    x = torch.rand(2, 3, 12, 12)
    model = wrap(made, precision="float64")
    if kind != "eager":
        make: Any = (
            partial(torch.jit.trace, example_inputs=x) if "trace" in kind else torch.jit.script
        )
        module = make(made)
        torch.jit.save(torch.jit.freeze(module) if "frozen" in kind else module, tmp_path / "m.ts")
        precision = "float32" if "frozen" in kind else "float64"
        model = load_model(tmp_path / "m.ts", precision=precision)
    faster = optimised(model, x[:1].to(model.dtype))
    assert faster.optimised
    expected = gradient(model, x)
    tolerance = 1e-4 if "frozen" in kind else 1e-9
    assert (gradient(faster, x) - expected).norm() <= tolerance * expected.norm()


def test_a_backward_hook_keeps_its_layer() -> None:
    torch.manual_seed(0)
    net = settled(Random(3))
    bn = net.get_submodule("first")

    def tripled(_module: nn.Module, incoming: Any, _outgoing: Any) -> tuple[Tensor]:
        return (incoming[0] * 3,)

    bn.register_full_backward_hook(tripled)
    model = wrap(net, precision="float64")
    x = torch.rand(1, 3, 12, 12, dtype=torch.float64)
    faster = optimised(model, x)
    torch.testing.assert_close(gradient(faster, x), gradient(model, x), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("stopped", "least"),
    [
        pytest.param(1e-5, 0, id="at any size"),
        pytest.param(0.5, fast.DOUBLES_SIDE + 1, id="in large inputs"),
    ],
)
def test_a_difference_in_the_gradient_alone_is_seen(
    stopped: float, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A faster form with the same output and another gradient is not believed."""

    class Stopped(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.inner(x)
            return y * (1 - stopped) + y.detach() * stopped if x.shape[-1] >= least else y

    torch.manual_seed(0)
    model = wrap(settled(Random(3)))
    x = torch.rand(1, 3, 12, least or 12)
    assert optimised(model, x) is not model
    inner = fast._faster
    monkeypatch.setattr(fast, "_faster", lambda model: Stopped(inner(model)))
    assert optimised(model, x) is model


def test_the_choice_depends_on_model_and_recipe_alone() -> None:
    torch.manual_seed(0)
    model = wrap(settled(Random(3)))
    first, second = (optimised_for(model, Preprocess(crop=16)) for _ in range(2))
    x = torch.rand(2, 3, 16, 16)
    assert first.optimised and second.optimised and not model.optimised
    assert torch.equal(gradient(first, x), gradient(second, x))
    assert optimised_for(model, Preprocess(crop=1200)).optimised  # on a corner of that size
