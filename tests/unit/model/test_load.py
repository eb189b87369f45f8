"""Every format computes what the network computes, each time it is called."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradviz.errors import ModelError
from gradviz.model.formats.exported import load_exported
from gradviz.model.load import load_model
from gradviz.model.model import Model
from gradviz.model.support import Format
from tests.helpers.formats import export, save, script
from tests.helpers.nets import Net

Load = Any


def gradient(y: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(y[:, 1].sum(), x)[0]


def test_outputs_and_gradients_equal_the_networks_from_the_first_call_to_the_fifth(
    net: nn.Module, load: Load, kind: str, image: Tensor
) -> None:
    expected = net(image)
    expected_gradient = gradient(net(image), image)
    model = load(kind)
    first = model(image)
    first_gradient = gradient(first, image)
    torch.testing.assert_close(first, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first_gradient, expected_gradient, rtol=1e-5, atol=1e-7)
    for _ in range(4):
        again = model(image)
        assert torch.equal(again, first)
        assert torch.equal(gradient(again, image), first_gradient)


@pytest.mark.parametrize("kind", ["checkpoint.pt", "scripted.ts", "dynamic.pt2"])
def test_float64_agrees_far_beyond_float32(net: nn.Module, load: Load, kind: str) -> None:
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    reference = type(net)().double().eval()
    reference.load_state_dict(net.state_dict())
    y = load(kind, precision="float64")(x)
    torch.testing.assert_close(y, reference(x), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(gradient(y, x), gradient(reference(x), x), rtol=1e-12, atol=1e-13)


def test_what_a_loaded_model_says_of_itself(load: Load, kind: str, files: Path) -> None:
    formats = {
        "c": Format.STATE_DICT,
        "l": Format.STATE_DICT,
        "w": Format.STATE_DICT,
        "p": Format.PICKLED,
        "t": Format.SCRIPT,
        "f": Format.FROZEN,
        "d": Format.EXPORTED,
    }
    model = load(kind)
    expected = {"scripted.ts": Format.SCRIPT, "static.pt2": Format.EXPORTED}.get(kind)
    assert model.format is (expected or formats[kind[0]])
    assert model.sha256 == hashlib.sha256((files / kind).read_bytes()).hexdigest()
    assert model.weights_key == ("state_dict" if kind == "checkpoint.pt" else None)
    shapes = {"static.pt2": (2, 3, 8, 8), "dynamic.pt2": (None, 3, None, None)}
    assert model.input_shape == shapes.get(kind)
    assert model.batch == (2 if kind == "static.pt2" else None)
    assert not any(p.requires_grad for p in model.module.parameters())
    said = model.describe()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["precision"] == "float32"
    assert said["sha256"] == model.sha256


@pytest.mark.parametrize("kind", ["checkpoint.pt", "pickled.pt", "scripted.ts"])
def test_models_evaluate(load: Load, kind: str) -> None:
    model = load(kind)
    assert not any(module.training for module in model.module.modules())


def test_only_the_notice_of_torch_jit_load_is_quiet(
    files: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load("scripted.ts")
    assert caught == []
    real: Any = torch.jit.load

    def noisy(*args: Any, **options: Any) -> Any:
        warnings.warn("another deprecation", DeprecationWarning, stacklevel=2)
        return real(*args, **options)

    monkeypatch.setattr(torch.jit, "load", noisy)
    with pytest.warns(DeprecationWarning, match="another deprecation"):
        load("scripted.ts")


def test_a_script_without_weights_is_not_frozen(tmp_path: Path) -> None:
    model = load_model(script("x * x", tmp_path / "square.ts"), precision="float64")
    assert model.format is Format.SCRIPT
    x = torch.rand(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.equal(torch.autograd.grad(model(x).sum(), x)[0], 2 * x)


def test_a_trace_with_parameters_and_constants_is_not_frozen(tmp_path: Path) -> None:
    scale = torch.tensor([[[2.0]], [[3.0]]])
    net = Net(lambda x, first: first(x) * scale, first=nn.Conv2d(3, 2, 1))
    save(net, torch.rand(1, 3, 2, 2), tmp_path, "traced.ts")
    model = load_model(tmp_path / "traced.ts", precision="float64")
    assert model.format is Format.SCRIPT
    x = torch.rand(1, 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(model(x), net.double()(x))


def test_a_smaller_batch_is_filled_up_and_cut_off_again(net: nn.Module, load: Load) -> None:
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    y = load("static.pt2")(x)
    assert y.shape == (1, 3)
    torch.testing.assert_close(y, net(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient(y, x), gradient(net(x), x), rtol=1e-5, atol=1e-7)


def test_a_batch_is_filled_up_with_its_last_image() -> None:
    seen: list[Tensor] = []

    def recording(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    model = Model(
        module=Net(recording),
        format=Format.EXPORTED,
        device=torch.device("cpu"),
        dtype=torch.float32,
        input_shape=(4, None, None, None),
    )
    x = torch.rand(2, 3, 4, 5)
    assert torch.equal(model(x), x)
    assert torch.equal(seen[0], x[[0, 1, 1, 1]])


@pytest.mark.parametrize("kind", ["scripted.ts", "traced.ts", "frozen.ts", "frozen_trace.ts"])
def test_the_backward_pass_is_made_of_the_same_operations_in_every_call(
    load: Load, kind: str, image: Tensor
) -> None:
    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            met.append(str(func))
            return func(*args, **(kwargs or {}))

    model = load(kind)
    calls = []
    for _ in range(5):
        y = model(image).sum()
        met: list[str] = []
        with Recorder():  # type: ignore[no-untyped-call]
            torch.autograd.grad(y, image)
        calls.append(met)
    # The optimising executor would write the second as gt and mul.
    assert {"aten.convolution_backward.default", "aten.threshold_backward.default"} <= set(calls[0])
    assert calls[1:] == calls[:1] * 4


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((3, 3, 8, 8), ["at most 2 images", "got 3", "--batch-size 2"]),
        ((2, 3, 8, 10), ["8x8 pixels", "got 10x8", "--resize 8x8", "--crop 8x8"]),
        ((2, 1, 8, 8), ["3 channels", "got 1", "--channels rgb"]),
    ],
)
def test_an_exported_program_says_which_shape_it_takes(
    load: Load, shape: tuple[int, ...], parts: list[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        load("static.pt2")(torch.rand(shape))
    assert all(part in str(caught.value) for part in parts), caught.value


def test_an_exported_program_moves_with_the_tensors_that_it_makes(tmp_path: Path) -> None:
    ramp = Net(lambda x: x + torch.arange(x.shape[3], device=x.device))
    export(ramp, torch.rand(1, 1, 2, 4), tmp_path / "ramp.pt2")
    # A device that is there on every machine, though it only infers shapes.
    module, _ = load_exported(tmp_path / "ramp.pt2", torch.device("meta"))
    assert module(torch.rand(1, 1, 2, 4, device="meta")).device.type == "meta"


def test_an_exported_program_must_take_one_batch_of_images(tmp_path: Path) -> None:
    x = torch.rand(1, 3, 4, 4)
    torch.export.save(torch.export.export(nn.L1Loss(), (x, x)), tmp_path / "two.pt2")
    with pytest.raises(ModelError, match=r"the model wants .*--input NAME=FILE"):
        load_model(tmp_path / "two.pt2", trust=True)(x)
    torch.export.save(torch.export.export(nn.ReLU(), (x[0, 0],)), tmp_path / "flat.pt2")
    with pytest.raises(ModelError, match=r"an input \[N, C, H, W\], got \[4, 4\]"):
        load_model(tmp_path / "flat.pt2", trust=True)
