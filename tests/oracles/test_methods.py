"""Every method against Captum, closed forms, and the same network in other formats and styles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import (
    Deconvolution,
    GuidedBackprop,
    GuidedGradCam,
    IntegratedGradients,
    LayerGradCam,
    NoiseTunnel,
)
from captum.attr import Saliency as CaptumSaliency
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz as package
from gradviz.backward.integrated_gradients import Baseline
from gradviz.backward.sampling import Sampling, SmoothGrad, VarGrad, noisy
from gradviz.commands.saliency.explain import Explainer
from gradviz.commands.saliency.settings import Settings
from gradviz.errors import ModelError, SeedError, UsageError
from gradviz.image.load import LoadedImage
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture
from tests.helpers import nets
from tests.helpers.formats import FORMATS, load, models, save
from tests.helpers.nets import Net

COUNT = torch.arange(16.0).reshape(1, 4, 4)
KNOWN = {
    "gradient": [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]],
    "guided": [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]],
    "deconvnet": [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]],
    "gradcam": [[11.25, 13.5], [20.25, 22.5]],
}


class Style(nets.OneConvolution):
    """The one-convolution network with its ReLUs written in another way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=how == "in place")
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "functional, in place":
            return F.relu_(self.fc1(F.relu_(self.conv1(x)).view(-1, 8)))
        # One module for both, so that hooks on modules see it once.
        y: Tensor = self.relu(self.fc1(self.relu(self.conv1(x)).view(-1, 8)))
        return y


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    return save(nets.one_convolution(), torch.rand(1, 1, 4, 4), folder, *FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_known_numbers_from_the_first_call_to_the_fifth(name: str, folder: Path) -> None:
    model = load(folder / name, "one_convolution")
    layer = "conv_0" if name == "frozen.ts" else "conv1"
    for _ in range(5):
        for method, expected in KNOWN.items():
            named = layer if method == "gradcam" else None
            (result,) = package.saliency(model, COUNT, "class:0", method=method, layer=named)
            assert result.array.tolist() == [expected], method
            assert result.gated == (2 if method in ("guided", "deconvnet") else None)
        (result,) = package.saliency(model, COUNT, "class:0", method="gradcam")
        assert result.layer == "relu_0" and not result.beside


@pytest.mark.parametrize("how", ["functional, in place", "reused", "in place"])
@pytest.mark.parametrize("style", ["eager", "scripted.ts", "traced.ts", "frozen_trace.ts"])
def test_the_known_numbers_however_the_relus_are_written(
    how: str, style: str, tmp_path: Path
) -> None:
    names = [style] if style != "eager" else []
    model = models(Style(how), COUNT[None], tmp_path, *names)[style]
    conv = "conv_0" if style == "frozen_trace.ts" else "conv1"
    for method, expected in KNOWN.items():
        layer = conv if method == "gradcam" else None
        (result,) = package.saliency(model, COUNT, "class:0", method=method, layer=layer)
        assert result.array.tolist() == [expected], method


class Deep(nn.Module):
    """Batch norm, pooling and a skip, every ReLU a module of its own, as Captum needs it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu1 = nn.ReLU()
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.third = nn.Conv2d(6, 8, 3)
        self.relu3 = nn.ReLU()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu1(self.norm(self.first(x)))
        a = F.max_pool2d(a + self.relu2(self.second(a)), 2)
        y: Tensor = self.head(self.relu3(self.third(a)).mean((2, 3)))
        return y


@pytest.fixture(scope="module")
def deep() -> Any:
    torch.manual_seed(3)
    net = Deep()
    net(torch.rand(8, 3, 12, 12) * 2)
    return net.double().eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def attribute(net: nn.Module, image: Tensor, method: str, seed: str = "class:2", **how: Any) -> Any:
    model = package.wrap(net, precision="float64")
    (result,) = package.saliency(model, image.float(), seed, method=method, **how)
    return result


def close(found: Any, expected: Tensor) -> None:
    wanted = expected.detach().numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def captum_input(image: Tensor) -> Tensor:
    return image.float().double()[None].requires_grad_()


@pytest.mark.filterwarnings("ignore:Setting (forward, )?backward hooks:UserWarning")
def test_captum_agrees_on_rules_and_grad_cam(deep: Any, image: Tensor) -> None:
    x = captum_input(image)
    close(attribute(deep, image, "guided").array, GuidedBackprop(deep).attribute(x, target=2)[0])
    close(attribute(deep, image, "deconvnet").array, Deconvolution(deep).attribute(x, target=2)[0])
    for layer, target in (("second", 2), ("third", 1)):
        seed = f"class:{target}"
        cam = LayerGradCam(deep, getattr(deep, layer))
        expected = cam.attribute(x, target=target, relu_attributions=True)
        assert expected.any()
        close(attribute(deep, image, "gradcam", seed, layer=layer).array, expected[0])
        both = GuidedGradCam(deep, getattr(deep, layer))
        expected = both.attribute(x, target=target, interpolate_mode="bilinear")
        assert expected.any()
        close(attribute(deep, image, "guided-gradcam", seed, layer=layer).array, expected[0])
    assert attribute(deep, image, "gradcam").layer == "relu3"


@pytest.mark.parametrize("samples", [7, 64])
def test_captum_agrees_on_integrated_gradients(deep: Any, image: Tensor, samples: int) -> None:
    x = captum_input(image)
    expected, delta = IntegratedGradients(deep).attribute(
        x, target=2, n_steps=samples, return_convergence_delta=True
    )
    found = attribute(deep, image, "integrated-gradients", samples=samples)
    close(found.array, expected[0])
    assert found.completeness == pytest.approx(-float(delta), rel=1e-5)


@pytest.mark.parametrize("method, kind", [("smoothgrad", "smoothgrad"), ("vargrad", "vargrad")])
def test_captum_agrees_with_the_same_noise(
    deep: Any, image: Tensor, method: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = captum_input(image)
    sampling = Sampling(samples=10, noise=0.2, random_seed=5)
    drawn = torch.stack(list(noisy(x.detach()[0], sampling))) - x.detach()
    assert float(drawn.std()) == pytest.approx(0.2 * float(np.ptp(image.numpy())), rel=0.05)
    monkeypatch.setattr(torch, "normal", lambda mean, std: drawn)
    expected = NoiseTunnel(CaptumSaliency(deep)).attribute(
        x, nt_type=kind, nt_samples=10, stdevs=0.2, target=2, abs=False
    )
    monkeypatch.undo()
    found = attribute(deep, image, method, samples=10, noise=0.2, random_seed=5)
    close(found.array, expected[0])


def analytic() -> nn.Module:
    """5x + y² + sin z of an image of three values."""

    def function(image: Tensor) -> Tensor:
        x, y, z = image.flatten(1).unbind(1)
        return (5 * x + y**2 + z.sin())[:, None]

    return Net(function)


def kinked(slopes: list[float], kinks: list[float]) -> nn.Module:
    """Σ aₖ·relu(s − tₖ) of s, the sum of the image: every point but the kinks has a slope."""
    a, t = torch.tensor(slopes), torch.tensor(kinks)
    return Net(
        lambda image: ((image.sum((1, 2, 3))[:, None] - t).clamp(min=0) * a).sum(1, keepdim=True)
    )


def test_integrated_gradients_of_a_known_function(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.array([0.5, 1, 1]).reshape(1, 1, 3))
    image = torch.tensor([1.0, 2, 3]).reshape(1, 1, 3)
    result = attribute(
        analytic(), image, "integrated-gradients", "class:0", baseline=f"{tmp_path}/b.npy"
    )
    np.testing.assert_allclose(result.array.ravel(), [2.5, 3, np.sin(3) - np.sin(1)], rtol=1e-6)
    assert abs(result.completeness) < 1e-9


def test_points_are_spent_until_the_attribution_is_complete() -> None:
    """The slopes of both signs make the gap of any fixed quadrature large beside the change."""
    net = kinked([1, 3, -6, 3.2, -1.5], [0, 0.1312, 0.4417, 0.7923, 0.9])
    image = torch.tensor([0.75, 0.25]).reshape(1, 1, 2)
    found = attribute(net, image, "integrated-gradients", "class:0")
    change = float(net(image[None]))
    assert abs(found.completeness) <= 1e-3 * abs(change)
    # One number moves the output, so each value's share is its share of the sum.
    np.testing.assert_allclose(found.array.ravel(), [0.75 * change, 0.25 * change], rtol=1e-3)
    fixed = attribute(net, image, "integrated-gradients", "class:0", samples=found.samples)
    assert abs(fixed.completeness) > 5e-3 * abs(change)


def test_a_smooth_path_takes_the_first_panels_alone() -> None:
    image = torch.tensor([1.0, 2, 3]).reshape(1, 1, 3)
    found = attribute(analytic(), image, "integrated-gradients", "class:0")
    assert found.samples == 64
    np.testing.assert_allclose(found.array.ravel(), [5, 4, np.sin(3)], rtol=1e-6)


def test_a_leap_ends_the_search() -> None:
    leap = Net(lambda x: (x.mean((2, 3)) > 0.3).to(x.dtype) + x.mean((2, 3)))
    found = attribute(leap, torch.full((1, 2, 2), 0.5), "integrated-gradients", "class:0")
    assert found.completeness == pytest.approx(1)
    assert any("--samples" in warning for warning in found.warnings)
    # Eight panels of eight points, and one of them halved down to 1/1024: from 1/8, seven times.
    assert found.samples == 64 + 7 * 2 * 8


def test_the_search_ends_at_256_points() -> None:
    """One leap takes 112 points beside the first 64, so two are not both found."""

    def leaps(x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        return y + (y > 0.3).to(y.dtype) + (y > 0.7).to(y.dtype)

    found = attribute(Net(leaps), torch.ones(1, 2, 2), "integrated-gradients", "class:0")
    assert found.samples == 256
    assert found.completeness == pytest.approx(2)


def test_the_largest_gap_is_halved_first() -> None:
    """One kink within the line: the points are spent at it, and nowhere else."""
    places: list[float] = []
    net = kinked([1, 5], [0, 0.4071])

    def watched(image: Tensor, net: nn.Module) -> Tensor:
        if image.requires_grad:
            places.extend(image.detach().sum((1, 2, 3)).tolist())
        y: Tensor = net(image)
        return y

    attribute(Net(watched, net=net), torch.full((1, 1, 2), 0.5), "integrated-gradients", "top")
    assert len(places) > 64
    low = 3 / 8
    assert all(low < place < low + 1 / 8 for place in places[64:])


def test_an_image_like_its_baseline_has_no_share() -> None:
    found = attribute(analytic(), torch.zeros(1, 1, 3), "integrated-gradients", "class:0")
    assert not found.array.any() and found.samples == 64


def test_a_baseline_where_the_model_has_no_value_is_told() -> None:
    shares = Net(lambda x: (x / x.sum()).square().sum((2, 3)))
    found = attribute(shares, torch.full((1, 2, 2), 0.5), "integrated-gradients", "class:0")
    assert found.samples == 64  # no search for what cannot be met
    assert any("NaN or Inf at the baseline" in warning for warning in found.warnings)


def test_a_gap_of_rounding_is_not_warned_of(tmp_path: Path) -> None:
    """A baseline one last digit away: what the output changes by is rounding."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    image = torch.rand(3, 16, 16)
    np.save(tmp_path / "b.npy", np.nextafter(image.numpy(), np.float32(1)))
    (found,) = package.saliency(
        net, image, "class:1", method="integrated-gradients", baseline=f"{tmp_path}/b.npy"
    )
    assert found.completeness and not found.warnings


@pytest.mark.parametrize("method", ["smoothgrad", "vargrad"])
def test_an_image_of_one_value_has_no_noise(method: str, deep: Any, image: Tensor) -> None:
    found = attribute(deep, torch.full((3, 12, 12), 0.3), method, samples=3)
    assert any("has one value everywhere" in warning for warning in found.warnings)
    assert not attribute(deep, image, method, samples=3).warnings


BLANK = {
    "gradient": "does not react to small changes",
    "input-x-gradient": "only where its values are 0",
    "vargrad": "the same at all noisy copies",
    "integrated-gradients": "equals the baseline",
    "guided": "no positive gradient",
    "gradcam": "add up to more than 0",
}


@pytest.mark.parametrize("method", BLANK)
def test_a_blank_map_has_its_methods_own_reason(method: str) -> None:
    net = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)).double()
    weights = list(net.parameters())
    with torch.no_grad():
        weights[0].fill_(1)
        weights[2].fill_(0 if method == "gradient" else -1)
    image = torch.ones(1, 4, 4) if method not in BLANK else torch.rand(1, 4, 4) + 1
    if method in ("input-x-gradient", "integrated-gradients"):
        image = image * 0
    found = attribute(net, image, method, "ones")
    assert any(BLANK[method] in warning for warning in found.warnings), found.warnings


def test_what_does_not_fit_the_models_numbers_is_refused(
    tmp_path: Path, image: Tensor, deep: Any
) -> None:
    np.save(tmp_path / "b.npy", np.full((3, 12, 12), 1e300))
    np.save(tmp_path / "t.npy", np.full(4, 1e300))
    net = Deep().eval()
    for seed, options, message in (
        (
            "class:1",
            {"method": "integrated-gradients", "baseline": f"{tmp_path}/b.npy"},
            "too large",
        ),
        ("class:1", {"method": "smoothgrad", "noise": 1e300}, "--noise 1e\\+300: too large"),
        ("class:1", {"method": "smoothgrad", "random_seed": 2**63}, "--random-seed 9.*give 0 to"),
        (f"loss:mse={tmp_path}/t.npy", {}, "too large"),
        (f"tensor:{tmp_path}/t.npy", {}, "too large"),
    ):
        with pytest.raises(UsageError, match=message):
            package.saliency(net, image.float(), seed, **options)


def test_the_completeness_gap_is_warned_of(deep: Any, image: Tensor) -> None:
    step = Net(lambda x: torch.sigmoid(1000 * (x.mean((2, 3)) - 0.3)))
    good = attribute(step, image, "integrated-gradients", "class:0", samples=2000)
    bad = attribute(step, image, "integrated-gradients", "class:0", samples=3)
    assert not good.warnings and any("--samples" in warning for warning in bad.warnings)


@pytest.mark.parametrize("method", ["smoothgrad", "vargrad", "integrated-gradients"])
def test_samples_do_not_depend_on_the_batch_or_on_other_images(
    method: str, deep: Any, image: Tensor, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", image.float().flip(0).numpy())
    np.save(tmp_path / "b.npy", image.float().numpy())
    model = package.wrap(deep, precision="float64")
    alone = attribute(deep, image, method, samples=5)
    for size in (1, 2, 8):
        paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
        both = package.saliency(model, paths, "class:2", method=method, samples=5, batch_size=size)
        np.testing.assert_allclose(both[1].array, alone.array, rtol=1e-6, atol=1e-12)
    if method != "integrated-gradients":
        other = attribute(deep, image, method, samples=5, random_seed=1)
        assert np.abs(other.array - alone.array).max() > 0.01 * np.abs(alone.array).max()


def test_the_points_of_one_image_are_told_as_they_are_done(deep: Any, image: Tensor) -> None:
    told: list[int] = []
    settings = Settings(method="smoothgrad", samples=10, batch_size=4)
    model = package.wrap(deep, precision="float64")
    explainer = Explainer(model, settings, on_progress=told.append)
    one = LoadedImage("x", prepare(Picture(image.float().numpy(), "array"), Preprocess()))
    list(explainer.outcomes([one], []))
    assert told == [4, 8, 10]


def test_noise_is_relative_to_the_range_and_has_a_default(deep: Any, image: Tensor) -> None:
    """σ = 0.15 · (max − min), so a model that undoes a scale of the image sees the same noise."""

    asked = attribute(deep, image, "smoothgrad", samples=4, noise=0.15)
    default = attribute(deep, image, "smoothgrad", samples=4)
    assert np.array_equal(asked.array, default.array)
    scaled = attribute(Net(lambda x: deep(x / 16)), image * 16, "smoothgrad", samples=4)
    np.testing.assert_allclose(16 * scaled.array, default.array, rtol=1e-5, atol=1e-9)


def test_random_draws_of_the_model_are_the_same_for_every_seed_and_image(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((1, 4, 4), 0.2, np.float32))
    np.save(tmp_path / "b.npy", np.eye(4, dtype=np.float32)[None])
    files = [tmp_path / f"{name}.npy" for name in "ab"]
    drops = Net(lambda x: F.dropout(x, 0.5, training=True))
    found = package.saliency(
        drops, files, ["ones", "channel:0"], method="smoothgrad", samples=3, noise=0.1
    )
    assert len(found) == 4 and found[0].array.mean() > 0 and found[0].array.std() > 0
    for other in found[1:]:
        assert np.array_equal(found[0].array, other.array)


@pytest.mark.parametrize("share, told", [(0.04, False), (0.06, True), (0.2, True)])
def test_the_bound_of_the_gap(share: float, told: bool) -> None:
    """A leap of a share of the whole change, which no gradient accounts for."""

    def leaps(x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        return (1 - share) * y + share * (y > 0.5).to(y.dtype)

    found = attribute(Net(leaps), torch.ones(1, 2, 2), "integrated-gradients", "class:0")
    assert found.completeness == pytest.approx(share)
    assert any("--samples" in warning for warning in found.warnings) == told


def test_the_class_ranked_first_is_that_of_the_image_itself(deep: Any, image: Tensor) -> None:
    model = package.wrap(deep, precision="float64")
    (top,) = package.saliency(model, image.float(), "top", method="smoothgrad", noise=3)
    best = int(deep(image.float().double()[None]).argmax())
    (fixed,) = package.saliency(model, image.float(), f"class:{best}", method="smoothgrad", noise=3)
    assert np.array_equal(top.array, fixed.array)


def test_the_variance_is_stable() -> None:
    """Numbers far from 0: the mean of squares less the square of the mean would give noise."""
    x = torch.zeros(1, dtype=torch.float64)
    values = 1e9 + torch.tensor([4.0, 7, 13, 16], dtype=torch.float64)
    samplers = [kind(x, Sampling(4), lambda _: 0.0) for kind in (SmoothGrad, VarGrad)]
    for value in values:
        for sampler in samplers:
            sampler.update(value[None])
    assert [float(sampler.result()) for sampler in samplers] == [1e9 + 10, 22.5]


def test_baselines(image: Tensor) -> None:
    x = image.float()
    assert not Baseline("zero").at(x).any()
    assert torch.equal(Baseline("mean").at(x), x.mean((1, 2))[:, None, None].expand(3, 12, 12))
    flat = torch.full((3, 9, 7), 0.3)
    torch.testing.assert_close(Baseline("blur").at(flat), flat)
    impulse = torch.zeros(1, 41, 41)
    impulse[0, 20, 20] = 1
    blurred = Baseline("blur").at(impulse)[0].double()
    place = torch.arange(41.0).double() - 20
    assert float((blurred.sum(0) * place**2).sum()) == pytest.approx(4.1**2, rel=0.03)
    assert torch.equal(blurred, blurred.T) and float(blurred.sum()) == pytest.approx(1)


def test_the_blurred_baseline_is_a_convolution_of_the_image_with_its_border_repeated() -> None:
    x = torch.rand(2, 13, 31, dtype=torch.float64)
    place = torch.arange(-4.0, 5, dtype=torch.float64)  # 3 σ = 3.9
    weights = torch.exp(-(place**2) / (2 * 1.3**2))
    weights = torch.outer(weights, weights) / weights.sum() ** 2
    padded = F.pad(x[:, None], [4] * 4, mode="replicate")
    torch.testing.assert_close(Baseline("blur").at(x), F.conv2d(padded, weights[None, None])[:, 0])


def test_a_baseline_is_computed_once(deep: Any, image: Tensor, monkeypatch: Any) -> None:
    calls = []
    at = Baseline.at

    def counted(self: Baseline, x: Tensor) -> Tensor:
        calls.append(self)
        return at(self, x)

    monkeypatch.setattr(Baseline, "at", counted)
    attribute(deep, image, "integrated-gradients", baseline="blur")
    assert len(calls) == 1


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "relu6": F.relu6, "leaky": F.leaky_relu,
    "elu": F.elu, "celu": F.celu, "selu": F.selu, "gelu": F.gelu, "silu": F.silu,
    "mish": F.mish, "softplus": F.softplus, "hardswish": F.hardswish,
    "threshold": lambda x: F.threshold(x, 0.1, 0.0),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.2], dtype=x.dtype)),
    "rrelu": lambda x: F.rrelu(x),
    "clamp": lambda x: x.clamp(min=0), "clamp_min": lambda x: x.clamp_min(0),
    "clamp to zeros": lambda x: x.clamp(min=torch.zeros((), dtype=x.dtype)),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum, turned": lambda x: torch.max(torch.zeros((), dtype=x.dtype), x),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_rules_at_every_activation(name: str) -> None:
    """f(x)·w: guided gives max(w, 0)·f'(x), deconvnet max(w, 0)."""
    activation = ACTIVATIONS[name]

    x = torch.linspace(-4, 8, 49, dtype=torch.float64).reshape(1, 7, 7)
    w = torch.cos(3 * x)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(activation(leaf).sum(), leaf)
    for method, expected in (
        ("guided", w.clamp(min=0) * slope),
        ("deconvnet", w.clamp(min=0)),
    ):
        found = seeded(Net(lambda x: activation(x * 1)), x, w, method)
        close(found.array, expected)
        assert found.gated == 1


def seeded(net: nn.Module, x: Tensor, v: Tensor, method: str) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        np.save(f"{place}/v.npy", v.numpy())
        return attribute(net, x, method, f"tensor:{place}/v.npy")


def test_a_rule_leaves_the_graph_as_it_was(deep: Any, image: Tensor) -> None:
    model = package.wrap(deep, precision="float64")
    plain = package.saliency(model, image.float(), ["class:1", "class:2"])
    guided = package.saliency(model, image.float(), ["class:1", "class:2"], method="guided")
    again = package.saliency(model, image.float(), ["class:1", "class:2"])
    (alone,) = package.saliency(model, image.float(), "class:2", method="guided")
    for one, other in zip(plain, again, strict=True):
        assert np.array_equal(one.array, other.array)
    assert np.array_equal(guided[1].array, alone.array)
    # Guided Grad-CAM reads the layer by the plain rule, after the guided pass.
    cam = attribute(deep, image, "gradcam", "class:2", layer="third").beside["gradient"]
    both = attribute(deep, image, "guided-gradcam", "class:2", layer="third").beside["gradient"]
    assert np.array_equal(cam, both)


@pytest.mark.parametrize("method", ["guided", "deconvnet", "guided-gradcam"])
def test_a_rule_without_activations_is_refused(method: str) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 1)).double()
    with pytest.raises(ModelError, match="no activation"):
        attribute(net, torch.rand(1, 6, 6), method, "ones")


def test_an_activation_hidden_by_a_view_is_warned_of() -> None:
    def hidden(x: Tensor) -> Tensor:
        x = torch.relu(x - 0.5) * 2
        x[:, :, 1:].relu_()
        return x

    found = attribute(Net(hidden), torch.rand(1, 6, 6), "guided", "ones")
    assert found.gated == 1 and any("not gated" in warning for warning in found.warnings)


def test_seg_grad_cam_follows_the_seed() -> None:
    net = nets.dense().double()
    image = torch.rand(3, 12, 16)
    x = image.double()[None]
    kept: list[Tensor] = []
    handle = net.second.register_forward_hook(lambda *call: kept.append(call[-1]))
    y = net(x.requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(y[0, 1, 2:4, 3:6].sum(), kept[0])
    cam = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).clamp(min=0)
    found = attribute(net, image, "gradcam", "region:3,2,6,4,1", layer="second")
    close(found.array, cam)


def test_the_gradient_at_the_first_layer_maps_to_the_inputs_by_its_transpose(
    deep: Any, image: Tensor
) -> None:
    at_layer = attribute(deep, image, "gradient", layer="first")
    at_input = attribute(deep, image, "gradient")
    g = torch.from_numpy(at_layer.array)[None].double()
    close(at_input.array, F.conv_transpose2d(g, deep.first.weight, padding=1)[0])
    close(at_layer.beside["activation"], deep.first(image.float().double()[None])[0])


def test_the_gradient_of_the_input_is_that_at_the_first_layers_input(
    deep: Any, image: Tensor
) -> None:
    """A layer in front that changes nothing puts out what the first layer takes in."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), deep).double()
    with torch.no_grad():
        next(net.parameters()).copy_(torch.eye(3)[:, :, None, None])
    tapped = attribute(net, image, "gradient", layer="0")
    assert np.array_equal(tapped.beside["activation"], image.float().numpy())
    assert np.array_equal(tapped.array, attribute(deep, image, "gradient").array)
    assert np.array_equal(tapped.array, attribute(net, image, "gradient").array)


@pytest.mark.parametrize("method", ["guided-gradcam", "gradcam", "guided", "gradient"])
def test_what_fills_up_a_programs_batch_is_left_out(
    method: str, deep: Any, image: Tensor, tmp_path: Path
) -> None:
    net = Deep().eval()
    net.load_state_dict(deep.state_dict())
    net.requires_grad_(False)
    program = torch.export.export(net, (torch.rand(4, 3, 12, 12),))
    torch.export.save(program, tmp_path / "net.pt2")
    model = package.load_model(tmp_path / "net.pt2", trust=True)
    layer = None if method == "guided" else "second"
    found = package.saliency(model, image.float(), "class:2", method=method, layer=layer)
    alone = package.saliency(net, image.float(), "class:2", method=method, layer=layer)
    assert len(found) == 1
    np.testing.assert_allclose(found[0].array, alone[0].array, rtol=1e-4, atol=1e-6)
    for name, array in alone[0].beside.items():
        np.testing.assert_allclose(found[0].beside[name], array, rtol=1e-4, atol=1e-6)


class ResNet(nn.Module):
    """Shaped like ResNet-18, two channels wide: in-place ReLUs, blocks, strides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 2, 7, 2, 3, bias=False), nn.BatchNorm2d(2)
        self.relu = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(*(Basic(2, stride) for stride in (1, 1, 2, 1, 2, 1, 2, 1)))
        self.fc = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        y: Tensor = self.fc(self.blocks(x).mean((2, 3)))
        return y


class Basic(nn.Module):
    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.down = nn.Conv2d(width, width, 1, stride, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        a = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y: Tensor = self.relu(a + self.down(x))
        return y


def test_every_convolution_of_torchscript_as_eager_hooks_see_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net: Any = ResNet()
    net(torch.rand(4, 3, 64, 64))
    net.eval()
    x = torch.rand(1, 3, 64, 64)
    kept: dict[str, Tensor] = {}
    names = [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d)]
    for name in names:

        def keep(module: nn.Module, given: Any, output: Tensor, name: str = name) -> Tensor:
            kept[name] = output
            return output.clone()  # what is written in place is the copy

        net.get_submodule(name).register_forward_hook(keep)
    score = net(x.clone().requires_grad_())[0, 1]
    gradients = dict(zip(kept, torch.autograd.grad(score, list(kept.values())), strict=True))
    for name in names:
        net.get_submodule(name)._forward_hooks.clear()
    files = ("scripted.ts", "traced.ts")
    save(net, x, tmp_path, *files)
    for file in files:
        model = package.load_model(tmp_path / file)
        for call in range(5):
            for name in names if call in (0, 4) else names[:2]:
                (found,) = package.saliency(model, x[0], "class:1", layer=name)
                assert np.array_equal(found.beside["activation"], kept[name][0].detach()), name
                assert np.array_equal(found.array, gradients[name][0]), name


class TestLosses:
    @pytest.fixture
    def target(self, tmp_path: Path) -> Any:
        values = np.random.default_rng(0).normal(size=(2, 6, 8))
        np.save(tmp_path / "t.npy", values)
        return tmp_path / "t.npy", torch.from_numpy(values)[None]

    @pytest.mark.parametrize("name, loss", [("mse", F.mse_loss), ("l1", F.l1_loss)])
    def test_of_a_map(self, name: str, loss: Any, target: Any) -> None:
        net, image = nets.dense().double(), torch.rand(3, 12, 16)
        x = image.double()[None].requires_grad_()
        (expected,) = torch.autograd.grad(loss(net(x), target[1]), x)
        close(attribute(net, image, "gradient", f"loss:{name}={target[0]}").array, expected[0])

    def test_cross_entropy_of_scores_and_of_a_map(self, deep: Any, image: Tensor) -> None:
        x = captum_input(image)
        (expected,) = torch.autograd.grad(F.cross_entropy(deep(x), torch.tensor([3])), x)
        close(attribute(deep, image, "gradient", "loss:ce=3").array, expected[0])
        net, x = nets.dense().double(), torch.rand(1, 3, 12, 16).double().requires_grad_()
        labels = torch.ones(1, 6, 8, dtype=torch.long)
        net, image = nets.dense().double(), torch.rand(3, 12, 16)
        x = image.double()[None].requires_grad_()
        (expected,) = torch.autograd.grad(F.cross_entropy(net(x), labels), x)
        close(attribute(net, image, "gradient", "loss:ce=1").array, expected[0])

    def test_of_a_layers_features(self, deep: Any, image: Tensor) -> None:
        a = F.max_pool2d(deep.relu1(deep.norm(deep.first(image.float().double()[None]))), 1)
        b = deep.second(a).detach().requires_grad_()
        y = deep.head(deep.relu3(deep.third(F.max_pool2d(a + b.relu(), 2))).mean((2, 3)))
        (expected,) = torch.autograd.grad(F.cross_entropy(y, torch.tensor([0])), b)
        found = attribute(deep, image, "gradient", "loss:ce=0", layer="second")
        close(found.array, expected[0])

    def test_what_does_not_fit(self, deep: Any, image: Tensor, tmp_path: Path) -> None:
        np.save(tmp_path / "small.npy", np.zeros(3))
        np.save(tmp_path / "nan.npy", np.full(4, np.nan))
        for spec, message in {
            "loss:ce=4": "0 to 3",
            "loss:huber=1": "no loss is called 'huber'",
            "loss:mse": "use|write",
            f"loss:mse={tmp_path}/small.npy": r"shape is \[3\]",
            f"loss:l1={tmp_path}/nan.npy": "NaN",
            f"loss:l1={tmp_path}/none.npy": "none.npy",
        }.items():
            with pytest.raises(SeedError, match=message):
                attribute(deep, image, "gradient", spec)
        with pytest.raises(SeedError, match="one channel"):
            attribute(nn.Conv2d(3, 1, 1).double(), image, "gradient", "loss:ce=0")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"method": "gradcam", "layer": "secnd"}, "did you mean second?"),
        ({"method": "gradcam", "layer": "head"}, "no spatial extent"),
        ({"method": "guided-gradcam", "layer": "head"}, "no spatial extent"),
        ({"method": "smoothgrad", "layer": "second"}, "leave out --layer"),
        ({"method": "gradient", "samples": 4}, "smoothgrad, vargrad, integrated-gradients"),
        ({"method": "smoothgrad", "baseline": "zero"}, "integrated-gradients"),
        ({"method": "vargrad", "samples": 1}, "at least 2"),
        ({"method": "smoothgrad", "samples": 0}, "at least 1"),
        ({"method": "smoothgrad", "noise": -1.0}, "--noise -1"),
        ({"method": "integrated-gradients", "baseline": "black"}, "zero, mean, blur"),
        ({"method": "integrated-gradients", "baseline": "b.npy"}, r"the input's \[3, 12, 12\]"),
    ],
)
def test_what_a_method_cannot_take(
    options: dict[str, Any],
    message: str,
    deep: Any,
    image: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("b.npy", np.zeros((3, 4, 4)))
    with pytest.raises(UsageError, match=message):
        attribute(deep, image, **options)


def test_grad_cam_where_no_layer_is_a_map() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    with pytest.raises(UsageError, match="spatial extent"):
        attribute(net, torch.rand(3, 2, 2), "gradcam", "ones")
