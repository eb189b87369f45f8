"""What `inspect_model` tells of a model, against passes written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradviz.commands.inspect.inspection import inspect_model
from gradviz.errors import ModelError, SeedError, UsageError
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from gradviz.model.load import load_model, wrap
from gradviz.model.model import Model
from gradviz.runs.schema import InspectDocument
from gradviz.seeds.seed import parse_seed
from tests.helpers.formats import save
from tests.helpers.nets import Conv, Net

PIXELS = np.random.default_rng(0).random((3, 16, 24), np.float32)
FORMATS = ("eager", "pickled.pt", "scripted.ts", "traced.ts", "frozen.ts", "program.pt2")


def look(model: Model, seed: str | None = None, pixels: Any = PIXELS) -> InspectDocument:
    image = LoadedImage("image", prepare(Picture(pixels, "array"), Preprocess()))
    return inspect_model(model, Preprocess(), image, None if seed is None else parse_seed(seed))


def saved(net: nn.Module, format: str, folder: Path, batch: int = 1) -> Model:
    """The module as it is, training or not, through a file of the format."""
    if format == "eager":
        return wrap(net)
    path = save(net, torch.rand(batch, 3, 16, 24), folder, format) / format
    return load_model(path, trust=True)


class Various(nn.Module):
    """Everything that a tap may stumble over: in place, functional, reused, strided."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu(self.norm(self.first(x)))
        a = self.relu(self.second(self.relu(self.second(a))))
        scores: Tensor = self.head(a.mean((2, 3)))
        return scores


def net() -> Various:
    torch.manual_seed(0)
    made = Various()
    made(torch.rand(8, 3, 16, 24) * 3)
    with torch.no_grad():  # so that one unit in six is off everywhere
        made.norm.bias[2] = -100
    return made.eval()


def by_hand(net: Various) -> dict[str, tuple[float, float]]:
    """The norms of activation and gradient of the best class, by layer, in float64."""
    net = net.double()
    first = net.first(torch.from_numpy(PIXELS)[None].double())
    normed = net.norm(first)
    once = net.second(torch.relu(normed))
    twice = net.second(torch.relu(once))
    scores = net.head(torch.relu(twice).mean((2, 3)))
    stages = {"first": first, "norm": normed, "second": once, "second:2": twice, "head": scores}
    gradients = torch.autograd.grad(scores.amax(), tuple(stages.values()))
    net.float()
    return {
        name: (float(stage.detach().norm()), float(gradient.norm()))
        for (name, stage), gradient in zip(stages.items(), gradients, strict=True)
    }


@pytest.mark.parametrize("format", FORMATS)
def test_norms_of_every_layer_in_every_format(format: str, tmp_path: Path) -> None:
    expected = by_hand(net())
    if format == "frozen.ts":  # its batch norm is part of the convolution
        names = {"norm": "conv_0", "second": "conv_1", "second:2": "conv_1:2", "head": "linear_0"}
        expected = {names[name]: pair for name, pair in expected.items() if name in names}
    found = look(saved(net(), format, tmp_path))
    layers = {layer.name: layer for layer in found.layers if not layer.name.startswith("relu")}
    assert list(layers) == list(expected)
    for name, (activation, gradient) in expected.items():
        assert layers[name].activation == pytest.approx(activation, rel=1e-4), name
        assert layers[name].gradient == pytest.approx(gradient, rel=1e-4), name
    assert found.seed == "top"


@pytest.mark.parametrize("format", FORMATS)
def test_shapes_strides_and_dead_units(format: str, tmp_path: Path) -> None:
    layers = {layer.name: layer for layer in look(saved(net(), format, tmp_path)).layers}
    frozen = format == "frozen.ts"
    normed = layers["conv_0" if frozen else "norm"]
    second = layers["conv_1:2" if frozen else "second:2"]
    head = layers["linear_0" if frozen else "head"]
    assert (normed.shape, normed.stride) == ([1, 6, 16, 24], [1, 1])
    assert (second.shape, second.stride) == ([1, 6, 4, 6], [4, 4])
    assert (head.shape, head.stride, head.dead) == ([1, 4], None, None)
    assert normed.dead is not None and normed.dead >= 1 / 6
    if not frozen:
        assert layers["first"].dead == 0  # what follows is no activation


def test_strides_need_not_be_whole() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Upsample((32, 5)), nn.Upsample((1, 1)))
    strides = [layer.stride for layer in look(wrap(module)).layers]
    assert strides == [[1, 1], [4.8, 0.5], None]


def test_a_programs_batch_counts_as_one_image(tmp_path: Path) -> None:
    one, three = (look(saved(net(), "program.pt2", tmp_path, batch)) for batch in (1, 3))
    for alone, copied in zip(one.layers, three.layers, strict=True):
        assert copied.shape[0] == 3 * alone.shape[0]
        assert copied.activation == pytest.approx(alone.activation, rel=1e-5)
        assert copied.gradient == pytest.approx(alone.gradient, rel=1e-5)


OFF: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "relu6": nn.ReLU6,
    "relu6 in place": lambda: nn.ReLU6(inplace=True),
    "hardswish": nn.Hardswish,
    "hardswish in place": lambda: nn.Hardswish(inplace=True),
}
ON: dict[str, Callable[[], nn.Module]] = {
    "hardtanh": nn.Hardtanh,
    "leaky": nn.LeakyReLU,
    "gelu": nn.GELU,
}


@pytest.mark.parametrize("format", ["eager", "scripted.ts"])
@pytest.mark.parametrize("activation", [*OFF, *ON])
def test_dead_units_by_the_activation_behind(activation: str, format: str, tmp_path: Path) -> None:
    first = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        assert first.bias is not None
        first.bias.copy_(torch.tensor([-50.0, -50, -50, 50]))
    module = nn.Sequential(first, (OFF | ON)[activation](), nn.Conv2d(4, 1, 3))
    found = look(saved(module, format, tmp_path))
    dead = activation in OFF
    assert found.layers[0].dead == (0.75 if dead else 0)
    assert any("dead" in warning and "0 (75%)" in warning for warning in found.warnings) == dead


class Around(Conv):
    """What the activation shuts off goes on beside it."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.cat([torch.relu(y), y], 1)


def test_a_unit_that_is_used_beside_its_activation_is_alive() -> None:
    module = Around()
    with torch.no_grad():
        list(module.parameters())[1].fill_(-50)
    assert look(wrap(module)).layers[0].dead == 0


class Saves(Conv):
    """A dense map in a dict, beside class scores, whole numbers and a loss."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.conv(x)
        return {"map": y, "scores": y.mean((2, 3)), "best": y.argmax(1), "loss": y.sum()}


@pytest.mark.parametrize("format", ["eager", "scripted.ts", "program.pt2"])
def test_several_outputs_are_listed(format: str, tmp_path: Path) -> None:
    found = look(saved(Saves(5), format, tmp_path))
    assert [(output.key, output.shape) for output in found.outputs] == [
        ("map", [1, 5, 14, 22]),
        ("scores", [1, 5]),
        ("best", [1, 14, 22]),
        ("loss", []),
    ]
    assert [output.chosen for output in found.outputs] == [True, False, False, False]
    dense, scores, best, loss = (output.seeds for output in found.outputs)
    assert "pixel:X,Y[,C]" in dense and "pixel:X,Y[,C]" not in scores and "top[:N]" in scores
    assert best == loss == []
    assert any("looking at map" in warning for warning in found.warnings)


def test_the_output_that_was_named_is_looked_at() -> None:
    found = look(wrap(Saves(5), output="scores"))
    assert [output.key for output in found.outputs if output.chosen] == ["scores"]
    assert found.seed == "top" and found.warnings == []
    with pytest.raises(UsageError, match="no 'depth'"):
        look(wrap(Saves(5), output="depth"))


class Tokens(nn.Module):
    """A linear layer on tokens that lie otherwise in memory; another one on constants."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 8, 8)
        self.mix = nn.Linear(6, 5)
        self.bias = nn.Linear(6, 5)
        self.register_buffer("places", torch.ones(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        y: Tensor = self.mix(tokens) + self.bias(self.places)
        return y


@pytest.mark.parametrize("format", ["eager", "scripted.ts", "traced.ts", "program.pt2"])
def test_tokens(format: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Tokens()
    found = look(saved(module, format, tmp_path))
    with torch.no_grad():
        mixed = module.patch(torch.from_numpy(PIXELS)[None]).flatten(2).mT @ module.mix.weight.T
    layers = {layer.name: layer for layer in found.layers}
    assert list(layers) == ["patch", "mix"]
    (warning,) = found.warnings
    assert warning.startswith("the output [1, 6, 5] does not have its rows and columns last")
    assert [(each.layout, each.seeds) for each in found.outputs] == [
        ("rows of numbers [N, L, K]", ["ones", "tensor:FILE"])
    ]
    assert layers["mix"].shape == [1, 6, 5]
    bias = module.mix.bias.detach() if format == "eager" else 0  # elsewhere added apart
    assert layers["mix"].activation == pytest.approx(float((mixed + bias).norm()), rel=1e-5)


class Twice(Conv):
    """Only one of two calls matters."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x * 2).detach() + self.conv(x)
        return y


def test_a_shared_layer_is_told_by_the_call_that_counts(tmp_path: Path) -> None:
    module = Twice(3, 1)
    found = look(saved(module, "scripted.ts", tmp_path))
    expected = float(module.conv(torch.from_numpy(PIXELS)[None]).detach().norm())
    (layer,) = found.layers
    assert layer.name == "conv" and layer.activation == pytest.approx(expected, rel=1e-5)
    assert found.warnings == []


def test_torchscript_inside_an_eager_module_is_known_by_its_weights() -> None:
    inner: Any = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    found = look(wrap(nn.Sequential(inner, nn.Conv2d(4, 1, 1))))
    assert [layer.name for layer in found.layers] == ["0.0", "1"]


class Apart(nn.Module):
    """One layer of each kind that no gradient can reach, and one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.behind, self.under, self.spare = (nn.Conv2d(3, 2, 3) for _ in range(4))
        self.places = nn.Linear(3, 1)
        self.register_buffer("grid", torch.ones(1, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.used(x)
        with torch.no_grad():
            z = self.under(x)
        total: Tensor = y + z + self.behind(x.detach()).relu_() + self.places(self.grid)
        return total


@pytest.mark.parametrize("format", ["eager", "scripted.ts", "program.pt2"])
def test_layers_that_no_gradient_can_reach_are_listed(format: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Apart()
    found = look(saved(module, format, tmp_path))
    assert [layer.name for layer in found.layers] == ["used", "under", "behind"]
    expected = float(module.behind(torch.from_numpy(PIXELS)[None]).detach().norm())
    used, _, behind = found.layers
    image = torch.from_numpy(PIXELS)[None]
    assert used.activation == pytest.approx(float(module.used(image).detach().norm()), rel=1e-5)
    assert behind.shape == [1, 2, 14, 22] and behind.gradient is behind.dead is None
    assert behind.activation == pytest.approx(expected, rel=1e-5)
    idle = ("did not run for this input: spare",) if format == "eager" else ()
    assert found.warnings == ["no gradient reaches under, behind", *idle]


# Warnings -----------------------------------------------------------------------------------------


def scaled(scale: float) -> nn.Module:
    """Each of three convolutions multiplies the gradient by the scale, about."""
    convs = [nn.Conv2d(3, 3, 1, bias=False) for _ in range(3)]
    for conv in convs:
        with torch.no_grad():
            conv.weight.copy_(torch.eye(3)[:, :, None, None] * scale)
    return nn.Sequential(*convs)


def conv(*behind: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), *behind)


def normed(norm: nn.Module) -> nn.Module:
    # The sum of what a norm puts out is a constant: something must lie between it and the seed.
    return conv(norm, nn.ReLU(), nn.Conv2d(4, 2, 3))


class Written(Conv):
    """A softmax written out, and something behind it."""

    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled

    def forward(self, x: Tensor) -> Tensor:
        e = self.conv(x).exp()
        if self.pooled:
            e = e.mean((2, 3))
        y: Tensor = 1.0 * e / e.sum(1, keepdim=True)
        return y


class Splits(Conv):
    """A branch that the output forgets."""

    def __init__(self) -> None:
        super().__init__(2)
        self.forgotten = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) + self.forgotten(x).detach()
        return y


class Slices(Conv):
    """Softmax, then only names for other places."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.softmax(self.conv(x), 1)[:, 1:].permute(0, 1, 3, 2)
        return y


def blind() -> nn.Module:
    module = conv(nn.Conv2d(4, 1, 1))
    with torch.no_grad():
        list(module.parameters())[2].zero_()
    return module


WARNINGS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...], str]] = {
    "softmax": (lambda: conv(nn.Softmax(1)), FORMATS, "gone through a softmax"),
    "sigmoid": (lambda: conv(nn.Sigmoid()), FORMATS, "gone through a sigmoid"),
    "views": (Slices, FORMATS, "gone through a softmax"),
    "batch": (lambda: normed(nn.BatchNorm2d(4)), ("traced.ts", "program.pt2"), "batch norms (1)"),
    "batch without memory": (
        lambda: normed(nn.BatchNorm2d(4, track_running_stats=False)),
        ("eager", "scripted.ts", "traced.ts", "frozen.ts"),
        "batch norms (1)",
    ),
    "batch without weights": (
        lambda: normed(nn.BatchNorm2d(4, affine=False, track_running_stats=False)),
        ("eager", "scripted.ts"),
        "batch norms (1)",
    ),
    "probabilities": (Written, FORMATS, "made of probabilities"),
    "probabilities of classes": (lambda: Written(pooled=True), FORMATS, "made of probabilities"),
    "dropout": (lambda: conv(nn.Dropout()), ("traced.ts", "program.pt2"), "draws random numbers"),
    "forgotten": (Splits, ("eager", "scripted.ts", "program.pt2"), "no gradient reaches forgotten"),
    "blind": (blind, ("eager", "scripted.ts", "program.pt2"), "no gradient reaches 0"),
    "vanishing": (lambda: scaled(1e-3), ("eager", "scripted.ts"), "from 2 back to 0"),
}


@pytest.mark.parametrize(
    ("case", "format"), [(case, format) for case, row in WARNINGS.items() for format in row[1]]
)
def test_a_warning(case: str, format: str, tmp_path: Path) -> None:
    make, _, part = WARNINGS[case]
    module = make()
    if case not in ("batch", "dropout"):  # these were left in training
        module.eval()
    # Of one channel, since the sum of all channels of a softmax is a constant.
    told = look(saved(module, format, tmp_path), "channel:0").warnings
    assert [part in warning for warning in told] == [True], told


@pytest.mark.parametrize(
    ("format", "names"),
    # Equal constants are one constant.
    [("eager", ["0", "1", "2"]), ("frozen.ts", ["conv_0", "conv_0:2", "conv_0:3"])],
)
def test_what_is_not_finite_is_named(format: str, names: list[str], tmp_path: Path) -> None:
    assert look(saved(scaled(1e30).eval(), format, tmp_path)).warnings == [
        f"the activation is NaN or Inf at {names[1]}, {names[2]}",
        f"the gradient is NaN or Inf at {names[0]}",
    ]


class OneChannel(Conv):
    """Ones, nearly, but no probabilities."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = 1 + 1e-5 * self.conv(x).tanh()
        return y


FINE: dict[str, Callable[[], nn.Module]] = {
    "small": lambda: conv(nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 2, 3)),
    "instance": lambda: normed(nn.InstanceNorm2d(4)),
    "instance affine": lambda: normed(nn.InstanceNorm2d(4, affine=True)),
    "sigmoid inside": lambda: conv(nn.Sigmoid(), nn.Conv2d(4, 2, 1)),
    "log": lambda: conv(nn.LogSoftmax(1)),
    "one channel": lambda: OneChannel(1),
    "positive": lambda: conv(nn.ReLU(), nn.Hardtanh(0.0, 0.25)),
    "small steps": lambda: scaled(0.02),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("case", FINE)
def test_no_warning(case: str, format: str, tmp_path: Path) -> None:
    assert look(saved(FINE[case]().eval(), format, tmp_path)).warnings == []


def test_the_bound_of_vanishing() -> None:
    steep = torch.tensor([0.999e-4, 1.001e-4]).sqrt()
    told = [bool(look(wrap(scaled(float(scale)))).warnings) for scale in steep]
    assert told == [True, False]


def test_many_layers_are_counted_not_named() -> None:
    module = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(9)))
    with torch.no_grad():
        list(module.parameters())[-2].zero_()
    (warning,) = look(wrap(module)).warnings
    assert warning == "no gradient reaches 0, 1, 2, 3, 4 and 3 more"


# Input, model and what goes wrong -----------------------------------------------------------------


def test_random_input_is_what_the_recipe_makes_of_a_photo() -> None:
    recipe = Preprocess(resize=48, multiple=32)
    (entered,) = inspect_model(wrap(net()), recipe).inputs
    assert (entered.source, entered.shape) == ("random", [1, 3, 64, 64])
    assert inspect_model(wrap(net()), Preprocess()).inputs[0].shape == [1, 3, 224, 224]
    sized = inspect_model(wrap(net()), recipe, input_size=(20, 16))
    assert sized.inputs[0].shape == [1, 3, 16, 20]


def test_random_input_is_the_same_for_the_same_seed() -> None:
    first, again, other = (
        inspect_model(wrap(net()), Preprocess(), input_size=(24, 16), random_seed=seed).layers
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_random_input_of_a_program_has_its_shape(tmp_path: Path) -> None:
    model = saved(net(), "program.pt2", tmp_path)
    assert inspect_model(model, Preprocess()).inputs[0].shape == [1, 3, 16, 24]


def of_size(side: int) -> Model:
    """A model that takes one size."""
    return wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 2)))


def test_random_sizes_are_tried_until_one_fits() -> None:
    assert inspect_model(of_size(64), Preprocess()).inputs[0].shape == [1, 3, 64, 64]
    with pytest.raises(ModelError, match=r"\[1, 3, 224, 224\].*--input-size WxH"):
        inspect_model(of_size(7), Preprocess())
    with pytest.raises(ModelError, match=r"\[1, 3, 8, 8\]"):
        inspect_model(of_size(7), Preprocess(), input_size=(8, 8))


@pytest.mark.parametrize("format", FORMATS)
def test_parameters(format: str, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False))
    model = look(saved(module, format, tmp_path)).model
    assert model.parameters.content() == {"count": 3 * 4 * 9 + 4 + 8, "bytes": 480}


class Picks(Conv):
    """Whole numbers are no parameters, frozen or not."""

    def __init__(self) -> None:
        super().__init__(2, 1)
        self.register_buffer("order", torch.tensor([1, 0]))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x).index_select(1, self.order)
        return y


@pytest.mark.parametrize("format", ["scripted.ts", "frozen.ts"])
def test_whole_numbers_are_no_parameters(format: str, tmp_path: Path) -> None:
    parameters = look(saved(Picks(), format, tmp_path)).model.parameters
    assert (parameters.count, parameters.size) == (8, 32)


def test_a_shared_parameter_counts_once() -> None:
    layer = nn.Conv2d(3, 3, 1)
    double = wrap(nn.Sequential(layer, layer), precision="float64")
    assert look(double).model.parameters.content() == {"count": 12, "bytes": 96}


def test_a_model_without_layers() -> None:
    found = look(wrap(Net(lambda x: F.relu(x * 2))))
    assert not found.layers and not found.warnings
    assert found.model.parameters.count == 0


def test_a_seed_that_does_not_fit() -> None:
    with pytest.raises(SeedError, match="x 24 is outside"):
        look(wrap(conv()), "pixel:24,0")


def test_a_seed_changes_the_gradient_alone() -> None:
    pixel, ones = (look(wrap(conv()), seed).layers[-1] for seed in ("pixel:3,3", "ones"))
    assert pixel.gradient == pytest.approx(2) and ones.gradient == pytest.approx((4 * 308) ** 0.5)
    assert pixel.activation == ones.activation
